#!/usr/bin/env bash
# Two subnets with a router between them that passes no multicast: a stream in one, and a search in the other by each of
# the LSL configurations given. Run in namespaces of its own: unshare --map-root-user --net --mount --pid --fork
#   two_subnets.sh PYTHON SOURCE_ID CONFIGURATION…
set -euo pipefail
python="$1"
source_id="$2"
shift 2
mount -t tmpfs tmpfs /run
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
subnet=1
for name in cap service; do
  ip netns add "$name"
  ip link add "$name" type veth peer name eth0 netns "$name"
  ip addr add "10.9.$subnet.1/24" dev "$name"
  ip link set "$name" up
  ip -n "$name" addr add "10.9.$subnet.2/24" dev eth0
  ip -n "$name" link set lo up
  ip -n "$name" link set eth0 up
  ip -n "$name" route add default via "10.9.$subnet.1"
  subnet=$((subnet + 1))
done

LSLAPICFG="$1" ip netns exec cap "$python" -c '
import sys, time, pylsl
outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Far", "EEG", 1, 100.0, pylsl.cf_float32, sys.argv[1]))
while True:
    outlet.push_sample([1.0])
    time.sleep(0.01)
' "$source_id" &
for configuration in "$@"; do
  LSLAPICFG="$configuration" ip netns exec service "$python" -c '
import sys, pylsl
found = pylsl.resolve_byprop("source_id", sys.argv[1], timeout=5)
samples = [pylsl.StreamInlet(one).pull_sample(10)[0] for one in found]
print(len(found), samples)
' "$source_id"
done
