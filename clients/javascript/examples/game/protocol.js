// The websocket of a stream, connected again and again: all that a game needs of the protocol (docs/protocol.md).

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5000;
const REFUSED = new Set([1002, 1003, 1007, 1008, 1009, 4401, 4404]); // connecting again would not help

/**
 * Read a stream for good.
 * @param {string} url ws://HOST:PORT/ws, or the address of a stream's predictions
 * @param {{token?: string, message: (message: any) => void, lost: (reason: string) => void}} options
 *   a token, and what is called with each message, and with the reason whenever there is no connection
 */
export function listen(url, { token, message, lost }) {
  const address = new URL(url);
  if (token) address.searchParams.set("token", token);
  let retry = FIRST_RETRY_MS;
  const connect = () => {
    const socket = new WebSocket(address);
    socket.onmessage = ({ data }) => {
      retry = FIRST_RETRY_MS;
      message(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      lost(reason);
      if (REFUSED.has(code)) return;
      setTimeout(connect, retry);
      retry = Math.min(2 * retry, LAST_RETRY_MS);
    };
  };
  connect();
}

/** Address of the service of a websocket. @param {string} url */
export function serviceOf(url) {
  const address = new URL(url);
  address.protocol = address.protocol === "wss:" ? "https:" : "http:";
  return `${address.origin}${address.pathname.replace(/(\/ws|\/v1\/streams\/.*)$/, "")}/`;
}
