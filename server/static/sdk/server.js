/** A server: its models, and the addresses and tokens by which a page reaches it. */
import { WhisperGPTError, errorOf, unreachable } from "./errors.js";
/** Where on a server that recording is. */
export function promptPath(name) {
    return `/static/prompts/${name}.flac`;
}
export class Server {
    origin;
    key;
    /**
     * @param origin such as `https://host:8000`, or `https://host/path` behind a proxy
     * @param key an API key, where the server asks for one
     */
    constructor(origin, key = null) {
        this.origin = origin;
        this.key = key;
        if (!/^https?:\/\/[^/]/.test(origin))
            throw new WhisperGPTError(`The server's address must look like http://host:port, not ${origin}.`, "bad_address");
    }
    /** What it can play. Rejects with `no_key` or `wrong_key` where it wants another key. */
    async models() {
        return (await (await this.ask("GET", "/v1/models")).json()).data;
    }
    /** The address of a WebSocket, good for one connection, soon. */
    async streamAddress(signal = null) {
        const { token } = (await (await this.ask("POST", "/v1/tokens", signal)).json());
        return `${this.origin.replace(/^http/, "ws")}/stream?token=${encodeURIComponent(token)}`;
    }
    /** A recording that the server brings, to try it with: `speech` or `piano`. */
    async bundledPrompt(name) {
        return await (await this.ask("GET", promptPath(name))).blob();
    }
    async ask(method, path, signal = null) {
        const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
        let answer;
        try {
            answer = await fetch(this.origin + path, { method, headers, signal });
        }
        catch {
            throw unreachable(this.origin);
        }
        if (!answer.ok)
            throw await errorOf(answer);
        return answer;
    }
}
