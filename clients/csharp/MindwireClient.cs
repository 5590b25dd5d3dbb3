// Predictions, decisions, axes and events of a running Mindwire service, in one file for Unity and other programs of .NET.
//
//     using (var client = new Mindwire.MindwireClient("ws://127.0.0.1:8000/ws"))
//         while (client.Failure == null)
//             if (client.Wait(1000) && client.TryRead(out var message) && message is Mindwire.Decision decision && decision.IsFresh(500))
//                 Console.WriteLine(decision.Class);
//
// In Unity, make the client in Start, call TryRead in Update until it returns false, and Dispose in OnDestroy. A task of the client reads
// all the time, connects again and counts what was missed; everything that is called from outside may be called from one thread.
//
// .NET Standard 2.1 (ClientWebSocket), without other packages. The protocol is in docs/protocol.md.
// SPDX-License-Identifier: BSD-3-Clause

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Mindwire
{
    /// <summary>A message of the service, or a notice of the client (<see cref="Connection"/>, <see cref="Missed"/>).</summary>
    public abstract class Message
    {
    }

    /// <summary>The description of a stream, first after each connection.</summary>
    public sealed class Hello : Message
    {
        public string Stream;
        /// <summary>Another one whenever the sequence numbers start again.</summary>
        public string Instance;
        public string[] Classes;
        public double Sfreq;
        public int WindowSamples, HopSamples;
        public string ModelName;
        /// <summary>If not empty, it must be shown to the people who see the predictions.</summary>
        public string Notice;
        /// <summary>All fields, as Dictionary, List, string, double, bool and null.</summary>
        public IReadOnlyDictionary<string, object> Fields;
    }

    /// <summary>A message that belongs to one window of the signal.</summary>
    public abstract class Timed : Message
    {
        public long Seq;
        /// <summary>LSL time of the window's last sample in seconds.</summary>
        public double Time;
        /// <summary>Age when the message was received, in milliseconds; NaN where it cannot be known.</summary>
        public double AgeWhenReceivedMs = double.NaN;
        internal double ReceivedMs;

        /// <summary>Milliseconds since the window's last sample, now; NaN where that cannot be known.</summary>
        public double AgeMs => AgeWhenReceivedMs + MindwireClient.NowMs - ReceivedMs;

        /// <summary>True if the message is at most so old; false where that cannot be known.</summary>
        public bool IsFresh(double maxAgeMs = 250) => AgeMs <= maxAgeMs;
    }

    /// <summary>Class probabilities of one window.</summary>
    public sealed class Prediction : Timed
    {
        /// <summary>One per class in the order of <see cref="Hello.Classes"/>; NaN where the decoder gave no number.</summary>
        public float[] Probabilities;
        /// <summary>True if the prediction can be trusted: act on no other.</summary>
        public bool Valid;
        public string[] Reasons;
        /// <summary>Accumulated evidence per class, and the state of the controller; null without a control policy.</summary>
        public float[] Evidence;
        public string Control;
        internal double UnixTime;
    }

    /// <summary>A command: act on it once.</summary>
    public sealed class Decision : Timed
    {
        public string Class;
        public float Confidence;
    }

    /// <summary>Continuous outputs in [-1, 1] by the names of the axes, after each prediction.</summary>
    public sealed class Axes : Timed
    {
        public IReadOnlyDictionary<string, float> Values;
    }

    /// <summary>A change of state, a gap, a marker and so on: a kind, one sentence, and details.</summary>
    public sealed class StreamEvent : Message
    {
        public string Kind, Text;
        public IReadOnlyDictionary<string, object> Data;
    }

    /// <summary>The connection was lost, with the reason, or is there again.</summary>
    public sealed class Connection : Message
    {
        public bool Connected;
        public string Reason = "";
    }

    /// <summary>Directly before a prediction: some before it were not delivered.</summary>
    public sealed class Missed : Message
    {
        /// <summary>Predictions that were not delivered. If the numbers started again, of the earlier ones only those that were dropped here.</summary>
        public long Count;
        /// <summary>Numbers of the last prediction that was delivered, -1 if none was, and of the one that follows.</summary>
        public long After = -1, Before;
        /// <summary>Those of Count for which the program was too slow.</summary>
        public long Dropped;
        /// <summary>The connection was lost meanwhile; the numbers started again.</summary>
        public bool Reconnected, Restarted;

        internal static Missed Both(Missed earlier, Missed later)
        {
            if (earlier == null || later == null) return earlier ?? later;
            return new Missed
            {
                Count = earlier.Count + later.Count, After = earlier.After, Before = later.Before, Dropped = earlier.Dropped + later.Dropped,
                Reconnected = earlier.Reconnected || later.Reconnected, Restarted = earlier.Restarted || later.Restarted,
            };
        }
    }

    /// <summary>The service refuses this client for good: a wrong token, a stream that does not exist, a fault of the protocol.</summary>
    public sealed class RefusedException : Exception
    {
        public readonly int Code;
        public RefusedException(int code, string text) : base(text) => Code = code;
    }

    /// <summary>One stream of a service: reads from its construction to Dispose.</summary>
    public sealed class MindwireClient : IDisposable
    {
        private const int Version = 1, MaxBytes = 1 << 24, CloseToken = 4401, CloseUnknown = 4404;
        private static readonly double[] PausesS = { 0.5, 1, 2, 4, 5 };
        // Nothing for so long: the other end may be gone without having said so.
        private static readonly TimeSpan Idle = TimeSpan.FromSeconds(30), Opening = TimeSpan.FromSeconds(10);
        private static readonly HashSet<int> Faults = new HashSet<int> { 1002, 1003, 1007, 1008, 1009 };

        private readonly Uri _address, _clockAddress;
        private readonly string _token;
        private readonly int _capacity;
        private readonly CancellationTokenSource _stop = new CancellationTokenSource();
        private readonly object _lock = new object();
        private readonly Task _reading, _measuring;
        private readonly ClockOffset _clock = new ClockOffset();
        // Of the reading task alone
        private long _lastSeq = -1;
        private bool _restarted, _reconnected;
        private string _instance = "";
        private Prediction _newest;
        // Under the lock
        private LinkedList<Entry> _queue = new LinkedList<Entry>();
        private Missed _lost;
        private Message _next;
        private long _lastRead = -1;

        private struct Entry
        {
            public Message Message;
            public Missed Loss;
        }

        /// <summary>Connect to a stream and read it.</summary>
        /// <param name="url">ws://HOST:PORT/ws for the only stream, or ws://HOST:PORT/v1/streams/NAME/predictions.</param>
        /// <param name="token">Of the service; the one that reads is enough.</param>
        /// <param name="capacity">Messages that wait at most; then predictions and axes among them are dropped.</param>
        public MindwireClient(string url, string token = null, int capacity = 64)
        {
            if (capacity < 1) throw new ArgumentOutOfRangeException(nameof(capacity));
            _address = new Uri(url);
            var path = _address.AbsolutePath;
            var end = path.EndsWith("/predictions") ? path.LastIndexOf("/v1/streams/", StringComparison.Ordinal) : path.LastIndexOf("/ws", StringComparison.Ordinal);
            if (end < 0) throw new ArgumentException("Expected an address such as ws://127.0.0.1:8000/ws, found " + url + ".", nameof(url));
            _clockAddress = new UriBuilder(_address) { Path = path.Substring(0, end) + "/v1/clock" }.Uri;
            _token = token;
            _capacity = capacity;
            _reading = Task.Run(Read);
            _measuring = Task.Run(Measure);
        }

        /// <summary>The newest description; null before the first connection.</summary>
        public Hello Hello { get; private set; }

        public bool Connected { get; private set; }

        /// <summary>State of the stream as last reported: live while predictions are fresh; unknown without a connection.</summary>
        public string State { get; private set; } = "unknown";

        /// <summary>Why there is no connection.</summary>
        public string Reason { get; private set; } = "The service has not been reached yet.";

        /// <summary>What ended the connection for good; null while it is there or tried again.</summary>
        public Exception Failure { get; private set; }

        /// <summary>Predictions that were not delivered, and messages of all kinds that were dropped because they were read too slowly.</summary>
        public long MissedPredictions { get; private set; }
        public long DroppedMessages { get; private set; }

        /// <summary>LSL's clock minus this machine's monotonic one in seconds; NaN before it is measured.</summary>
        public double ClockOffsetS => _clock.OffsetS;

        /// <summary>LSL time now in seconds; NaN before the clock is measured.</summary>
        public double LslNow => NowMs / 1000 + _clock.OffsetS;

        internal static double NowMs => 1000.0 * Stopwatch.GetTimestamp() / Stopwatch.Frequency;

        /// <summary>Take the next message; false if there is none at present. Does not wait.</summary>
        public bool TryRead(out Message message)
        {
            lock (_lock)
            {
                message = _next;
                _next = null;
                if (message != null) return true;
                if (_queue.Count == 0) return false;
                var entry = _queue.First.Value;
                _queue.RemoveFirst();
                message = entry.Message;
                if (!(message is Prediction prediction)) return true;
                var loss = Missed.Both(_lost, entry.Loss);
                _lost = null;
                if (loss != null)
                {
                    loss.After = _lastRead;
                    loss.Before = prediction.Seq;
                    MissedPredictions += loss.Count;
                    _next = message;
                    message = loss;
                }
                _lastRead = prediction.Seq;
                return true;
            }
        }

        /// <summary>Wait for a message or for the end; false if neither came within a time in milliseconds. Not for a thread that draws.</summary>
        public bool Wait(int milliseconds)
        {
            lock (_lock)
            {
                if (_next == null && _queue.Count == 0 && Failure == null) Monitor.Wait(_lock, milliseconds);
                return _next != null || _queue.Count > 0 || Failure != null;
            }
        }

        /// <summary>End the connection.</summary>
        public void Dispose()
        {
            _stop.Cancel();
            Task.WaitAll(new[] { _reading, _measuring }, 2000);
        }

        // ── messages, in the reading task ────────────────────────────────────────────────────────────

        private async Task Read()
        {
            var failures = 0;
            while (!_stop.IsCancellationRequested)
            {
                var greeted = false;
                Exception failure = null;
                try
                {
                    using (var socket = await Open(_address).ConfigureAwait(false))
                        while (true)
                        {
                            var text = await Receive(socket).ConfigureAwait(false);
                            greeted |= Take(text);
                        }
                }
                catch (Exception error)
                {
                    Reason = error is OperationCanceledException ? "The service did not answer in time." : error.Message;
                    // Everything else, of the network, may be over later.
                    if (error is RefusedException || error is FormatException || error is ArgumentException) failure = error;
                }
                if (greeted)
                {
                    failures = 0;
                    _reconnected = true;
                    Connected = false;
                    State = "unknown";
                    Give(new Connection { Connected = false, Reason = Reason }, null);
                }
                if (failure != null)
                {
                    End(failure);
                    return;
                }
                await Pause(PausesS[Math.Min(failures++, PausesS.Length - 1)]).ConfigureAwait(false);
            }
        }

        private void End(Exception error)
        {
            lock (_lock)
            {
                Failure = error;
                Monitor.PulseAll(_lock);
            }
        }

        private async Task<ClientWebSocket> Open(Uri address)
        {
            var socket = new ClientWebSocket();
            try
            {
                if (!string.IsNullOrEmpty(_token)) socket.Options.SetRequestHeader("Authorization", "Bearer " + _token);
                using (var limit = Limit(Opening)) await socket.ConnectAsync(address, limit.Token).ConfigureAwait(false);
                return socket;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        private async Task<string> Receive(ClientWebSocket socket)
        {
            var buffer = new byte[4096];
            var length = 0;
            using (var limit = Limit(Idle))
                while (true)
                {
                    var part = await socket.ReceiveAsync(new ArraySegment<byte>(buffer, length, buffer.Length - length), limit.Token).ConfigureAwait(false);
                    if (part.MessageType == WebSocketMessageType.Close) throw Closed((int)(part.CloseStatus ?? 0), part.CloseStatusDescription);
                    length += part.Count;
                    if (part.EndOfMessage) return Encoding.UTF8.GetString(buffer, 0, length);
                    if (length >= MaxBytes) throw new FormatException("A message is longer than 16 MiB.");
                    if (length == buffer.Length) Array.Resize(ref buffer, 2 * buffer.Length);
                }
        }

        private Exception Closed(int code, string reason)
        {
            var text = string.IsNullOrEmpty(reason) ? "The connection was closed (code " + code + ")." : reason;
            var final = code == CloseToken || Faults.Contains(code) || (code == CloseUnknown && Hello == null);
            return final ? (Exception)new RefusedException(code, text) : new WebSocketException(text);
        }

        /// <summary>Take the text of a message; true if it was a hello.</summary>
        private bool Take(string text)
        {
            var now = NowMs;
            var fields = Json.Object(text);
            switch (fields.Text("type"))
            {
                case "hello":
                    Greet(fields);
                    return true;
                case "prediction":
                    var prediction = new Prediction
                    {
                        Probabilities = fields.Floats("probabilities"), Valid = fields.Flag("valid"), Reasons = fields.Texts("reasons"),
                        Evidence = fields.Floats("evidence"), Control = fields.Text("control"), UnixTime = fields.Number("unix_time"),
                    };
                    Stamp(prediction, fields, now, UnixNowMs - 1000 * prediction.UnixTime);
                    _newest = prediction;
                    Give(prediction, LossBefore(prediction));
                    break;
                case "decision":
                    var decision = new Decision { Class = fields.Text("class"), Confidence = (float)fields.Number("confidence") };
                    Stamp(decision, fields, now, fields.Number("age_ms"));
                    Give(decision, null);
                    break;
                case "axes":
                    var values = new Dictionary<string, float>();
                    foreach (var one in fields.Fields("values")) values[one.Key] = one.Value is double number ? (float)number : float.NaN;
                    var axes = new Axes { Values = values };
                    Stamp(axes, fields, now, double.NaN);
                    if (double.IsNaN(axes.AgeWhenReceivedMs) && _newest != null && _newest.Seq == axes.Seq) axes.AgeWhenReceivedMs = _newest.AgeMs;
                    Give(axes, null);
                    break;
                case "event":
                    var made = new StreamEvent { Kind = fields.Text("kind"), Text = fields.Text("message"), Data = fields.Fields("data") };
                    if (made.Kind == "state") State = made.Data.Text("state");
                    Give(made, null);
                    break;
            }
            return false;
        }

        private static double UnixNowMs => (DateTime.UtcNow - new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc)).TotalMilliseconds;

        private void Stamp(Timed message, IReadOnlyDictionary<string, object> fields, double now, double ageWithoutClockMs)
        {
            message.Seq = (long)fields.Number("seq");
            message.Time = fields.Number("time");
            message.ReceivedMs = now;
            var age = now + 1000 * (_clock.OffsetS - message.Time);
            message.AgeWhenReceivedMs = double.IsNaN(age) ? ageWithoutClockMs : age;
        }

        private void Greet(IReadOnlyDictionary<string, object> fields)
        {
            var version = fields.Number("version");
            if (version != Version) throw new RefusedException(0, "Expected version 1 of the protocol, found " + version + "; take another MindwireClient.cs.");
            var model = fields.Fields("model");
            var hello = new Hello
            {
                Stream = fields.Text("stream"), Instance = fields.Text("instance"), Classes = fields.Texts("classes"), Sfreq = fields.Number("sfreq"),
                WindowSamples = (int)fields.Number("window_samples"), HopSamples = (int)fields.Number("hop_samples"),
                ModelName = model.Text("name"), Notice = model.Text("notice"), Fields = fields,
            };
            _restarted |= hello.Instance != "" && _instance != "" && hello.Instance != _instance;
            _instance = hello.Instance;
            Hello = hello;
            Connected = true;
            Give(hello, null);
            Give(new Connection { Connected = true }, null);
        }

        /// <summary>Compare a number with the last one; where they start again, the first is 0.</summary>
        private Missed LossBefore(Prediction prediction)
        {
            var after = _lastSeq;
            var restarted = after >= 0 && (_restarted || prediction.Seq <= after);
            var loss = new Missed { Count = restarted ? prediction.Seq : prediction.Seq - after - 1, Reconnected = _reconnected, Restarted = restarted };
            _lastSeq = prediction.Seq;
            _restarted = _reconnected = false;
            return after >= 0 && (loss.Count > 0 || restarted) ? loss : null;
        }

        private void Give(Message message, Missed loss)
        {
            lock (_lock)
            {
                if (_queue.Count >= _capacity) MakeRoom();
                _queue.AddLast(new Entry { Message = message, Loss = loss });
                Monitor.PulseAll(_lock);
            }
        }

        private void MakeRoom()
        {
            var kept = new LinkedList<Entry>();
            foreach (var entry in _queue)
            {
                if (entry.Message is Prediction) _lost = Missed.Both(_lost, Missed.Both(entry.Loss, new Missed { Count = 1, Dropped = 1 }));
                else if (!(entry.Message is Axes)) kept.AddLast(entry);
            }
            if (kept.Count == _queue.Count) kept.RemoveFirst();
            DroppedMessages += _queue.Count - kept.Count;
            _queue = kept;
        }

        // ── clock ────────────────────────────────────────────────────────────────────────────────────

        /// <summary>Measure LSL's clock by round trips: ten at once, then one a second.</summary>
        private async Task Measure()
        {
            while (!_stop.IsCancellationRequested)
            {
                try
                {
                    using (var socket = await Open(_clockAddress).ConfigureAwait(false))
                    {
                        await Receive(socket).ConfigureAwait(false); // hello
                        for (var id = 1; ; id++)
                        {
                            var sent = NowMs;
                            var question = Encoding.UTF8.GetBytes("{\"type\":\"clock\",\"id\":" + id + ",\"sent\":" + sent.ToString("R", CultureInfo.InvariantCulture) + "}");
                            using (var limit = Limit(Opening))
                                await socket.SendAsync(new ArraySegment<byte>(question), WebSocketMessageType.Text, true, limit.Token).ConfigureAwait(false);
                            var answer = Json.Object(await Receive(socket).ConfigureAwait(false));
                            _clock.Add(sent, answer.Number("received"), answer.Number("answered"), NowMs);
                            await Pause(id < 10 ? 0.02 : 1).ConfigureAwait(false);
                        }
                    }
                }
                catch (Exception) // without a clock ages are those that the service states
                {
                    await Pause(Failure == null ? 1 : 60).ConfigureAwait(false);
                }
            }
        }

        private async Task Pause(double seconds)
        {
            try
            {
                await Task.Delay(TimeSpan.FromSeconds(seconds), _stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
            }
        }

        private CancellationTokenSource Limit(TimeSpan time)
        {
            var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            limit.CancelAfter(time);
            return limit;
        }

        /// <summary>Offset between two clocks: of the trips of the last half minute the shortest.</summary>
        private sealed class ClockOffset
        {
            private readonly LinkedList<(double At, double TripMs, double OffsetS)> _trips = new LinkedList<(double, double, double)>();
            private double _offset = double.NaN;

            public double OffsetS => Volatile.Read(ref _offset);

            public void Add(double sentMs, double received, double answered, double returnedMs)
            {
                var trip = returnedMs - sentMs - 1000 * (answered - received);
                var offset = (received + answered) / 2 - (sentMs + returnedMs) / 2000;
                // The clocks have jumped if two offsets differ by more than both trips allow.
                if (_trips.Count > 0 && Math.Abs(_trips.Last.Value.OffsetS - offset) * 1000 > trip + _trips.Last.Value.TripMs + 1) _trips.Clear();
                while (_trips.Count > 0 && _trips.First.Value.At < returnedMs - 30000) _trips.RemoveFirst();
                _trips.AddLast((returnedMs, trip, offset));
                var best = _trips.Last.Value;
                foreach (var one in _trips) if (one.TripMs < best.TripMs) best = one;
                Volatile.Write(ref _offset, best.OffsetS);
            }
        }
    }

    /// <summary>A reader of JSON into Dictionary, List, string, double, bool and null, and access to its fields.</summary>
    internal static class Json
    {
        private const int MostDepth = 64;

        /// <summary>Return the object that a text is; FormatException if it is none.</summary>
        public static IReadOnlyDictionary<string, object> Object(string text)
        {
            var at = 0;
            var value = Value(text, ref at, 0);
            Skip(text, ref at);
            if (at == text.Length && value is Dictionary<string, object> found) return found;
            throw new FormatException("Expected a message of the Mindwire protocol, found another text; check the address.");
        }

        public static string Text(this IReadOnlyDictionary<string, object> fields, string name) => fields.TryGetValue(name, out var value) ? value as string : null;

        public static double Number(this IReadOnlyDictionary<string, object> fields, string name) =>
            fields.TryGetValue(name, out var value) && value is double number ? number : double.NaN;

        public static bool Flag(this IReadOnlyDictionary<string, object> fields, string name) => fields.TryGetValue(name, out var value) && value is bool flag && flag;

        public static IReadOnlyDictionary<string, object> Fields(this IReadOnlyDictionary<string, object> fields, string name) =>
            fields.TryGetValue(name, out var value) && value is Dictionary<string, object> found ? found : new Dictionary<string, object>();

        public static string[] Texts(this IReadOnlyDictionary<string, object> fields, string name) =>
            fields.TryGetValue(name, out var value) && value is List<object> list ? list.ConvertAll(one => one as string).ToArray() : new string[0];

        /// <summary>Numbers, NaN for null; null if there is no such list.</summary>
        public static float[] Floats(this IReadOnlyDictionary<string, object> fields, string name) =>
            fields.TryGetValue(name, out var value) && value is List<object> list ? list.ConvertAll(one => one is double number ? (float)number : float.NaN).ToArray() : null;

        private static object Value(string text, ref int at, int depth)
        {
            if (depth > MostDepth) throw Fault(at);
            Skip(text, ref at);
            switch (at < text.Length ? text[at] : '\0')
            {
                case '{':
                    var fields = new Dictionary<string, object>();
                    for (var first = true; !Closes(text, ref at, '}', first); first = false)
                    {
                        Skip(text, ref at);
                        var name = String(text, ref at);
                        Skip(text, ref at);
                        Expect(text, ref at, ":");
                        fields[name] = Value(text, ref at, depth + 1);
                    }
                    return fields;
                case '[':
                    var list = new List<object>();
                    for (var first = true; !Closes(text, ref at, ']', first); first = false) list.Add(Value(text, ref at, depth + 1));
                    return list;
                case '"':
                    return String(text, ref at);
                case 't':
                    Expect(text, ref at, "true");
                    return true;
                case 'f':
                    Expect(text, ref at, "false");
                    return false;
                case 'n':
                    Expect(text, ref at, "null");
                    return null;
                default:
                    var begin = at;
                    while (at < text.Length && "+-.eE0123456789".IndexOf(text[at]) >= 0) at++;
                    if (double.TryParse(text.Substring(begin, at - begin), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)) return number;
                    throw Fault(begin);
            }
        }

        /// <summary>Pass over the opening bracket (first) or the comma; true after the closing bracket.</summary>
        private static bool Closes(string text, ref int at, char close, bool first)
        {
            if (first) at++;
            Skip(text, ref at);
            if (at < text.Length && text[at] == close)
            {
                at++;
                return true;
            }
            if (!first) Expect(text, ref at, ",");
            return false;
        }

        private static string String(string text, ref int at)
        {
            Expect(text, ref at, "\"");
            var found = new StringBuilder();
            while (at < text.Length)
            {
                var c = text[at++];
                if (c == '"') return found.ToString();
                if (c != '\\')
                {
                    found.Append(c);
                    continue;
                }
                if (at == text.Length) break;
                c = text[at++];
                if (c == 'u')
                {
                    if (at + 4 > text.Length || !ushort.TryParse(text.Substring(at, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code)) break;
                    found.Append((char)code);
                    at += 4;
                    continue;
                }
                var place = "\"\\/bfnrt".IndexOf(c);
                if (place < 0) break;
                found.Append("\"\\/\b\f\n\r\t"[place]);
            }
            throw Fault(at);
        }

        private static void Skip(string text, ref int at)
        {
            while (at < text.Length && " \t\r\n".IndexOf(text[at]) >= 0) at++;
        }

        private static void Expect(string text, ref int at, string wanted)
        {
            if (string.CompareOrdinal(text, at, wanted, 0, wanted.Length) != 0) throw Fault(at);
            at += wanted.Length;
        }

        private static FormatException Fault(int at) => new FormatException("Expected JSON, found something else at character " + at + ".");
    }
}
