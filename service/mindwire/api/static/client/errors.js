// Errors of the client; each has one sentence.

/** Base of all errors of the client. */
export class ClientError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** The service wants a token that is missing or wrong, or the token may only read. */
export class TokenError extends ClientError {}

/** The service has no stream of that name, or several where none was named. */
export class UnknownStreamError extends ClientError {}

/** The service could not be reached within the time limit. */
export class ConnectionTimeoutError extends ClientError {}

/** The other side is not a Mindwire service, or one of another version of the protocol. */
export class ProtocolError extends ClientError {}

/** A command did not reach the service, or its answer was lost. */
export class UnreachableError extends ClientError {}

/** The service refused a command. */
export class RefusedError extends ClientError {
  /** @param {number} status of HTTP @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}
