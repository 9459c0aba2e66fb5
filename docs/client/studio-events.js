// Studio's events in a browser: connects, resumes where it was, backs off, renews its token.
// One module without dependencies. The protocol is in docs/gateway-protocol.md.
//
//   import { StudioEvents } from './studio-events.js';
//   const studio = new StudioEvents('wss://api.studio.sentimatrix.dev', {
//       token: async () => (await fetch('/my/token')).text(),   // called whenever one is needed
//       projects: ['proj_abc123'],                              // or ['*'], the default
//   });
//   studio.addEventListener('event', ({ detail }) => show(detail.event, detail.data));
//   studio.addEventListener('gap', () => loadEverythingAfresh());
//   studio.addEventListener('state', ({ detail }) => console.log(detail.state));
//   studio.open();
//
// 'event' brings each event once and in order. 'gap' says that some may have been missed: load the
// state afresh. 'state' is 'connecting', 'live', 'waiting' or 'closed' (with `code` and `reason`;
// the client does not come back by itself from 'closed').

const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;
/** Longest time to connect, milliseconds. */
const CONNECT = 10_000;
/** Browsers hide pings, so one of our own tells whether the connection is alive. */
const PING_EVERY = 30_000;
const PONG_WITHIN = 10_000;

/** The part of every wait that is drawn, so that thousands do not come back together. */
const jitter = (milliseconds) => milliseconds * (0.5 + Math.random() / 2);

export class StudioEvents extends EventTarget {
    #url;
    #token;
    #projects;
    #events;
    #socket = null;
    #timers = new Map();
    #wait = FIRST_WAIT;
    #since;
    #told = null;
    #awaited = new Set();
    #open = false;
    #attempt = 0;

    /**
     * @param {string} url the gateway: `wss://host`, or with the path of the WebSocket
     * @param {{token: () => string | Promise<string>, projects?: string[], events?: string[],
     *     since?: string}} options `since`: the id of the last event that was seen before
     */
    constructor(url, { token, projects = ['*'], events, since }) {
        super();
        this.#url = new URL(url.replace(/^http/, 'ws'));
        if (this.#url.pathname === '/') this.#url.pathname = '/v1/ws';
        this.#token = token;
        this.#projects = [...new Set(projects)];
        this.#events = events;
        this.#since = since;
    }

    /** The id of the last event that was seen: keep it, and give it as `since` the next time. */
    get lastEventId() {
        return this.#since;
    }

    /** Connects, and stays connected until `close`. */
    open() {
        if (this.#open) return;
        this.#open = true;
        this.#wait = FIRST_WAIT;
        this.#connect();
    }

    /** Closes for good, or until `open`. */
    close() {
        if (this.#open) this.#end(1000, 'closed by the page');
    }

    async #connect() {
        const attempt = ++this.#attempt;
        this.#state('connecting');
        let token;
        try {
            token = await this.#token();
        } catch (error) {
            // Without a token nothing can be done but wait for one.
            if (attempt === this.#attempt && this.#open) this.#later(`no token: ${error}`);
            return;
        }
        if (attempt !== this.#attempt || !this.#open) return;
        // As a subprotocol: a URL would stand in logs.
        const socket = new WebSocket(this.#url, ['bearer', token]);
        this.#socket = socket;
        this.#told = null;
        this.#after('connect', CONNECT, () => this.#drop(socket, 'no answer'));
        socket.onopen = () => this.#subscribe();
        socket.onmessage = ({ data }) => this.#hear(data);
        socket.onclose = ({ code, reason }) => this.#closed(socket, code, reason);
    }

    #say(message) {
        if (this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(JSON.stringify(message));
        }
    }

    #subscribe() {
        this.#awaited = new Set(this.#projects);
        this.#say({
            type: 'subscribe',
            project_ids: this.#projects,
            events: this.#events,
            since: this.#since,
        });
    }

    #hear(text) {
        this.#stop('pong');
        const message = JSON.parse(text);
        switch (message.type) {
            case undefined:
                this.#since = message.id;
                this.#tell('event', message);
                break;
            case 'connected':
                this.#renewBefore(message.token_expires_at);
                break;
            case 'subscribed':
                this.#subscribed(message);
                break;
            case 'token_expiring':
                this.#renew();
                break;
            case 'authenticated':
                this.#renewBefore(message.token_expires_at);
                break;
            case 'reconnect':
                this.#told = message.after_ms;
                break;
            case 'error':
                this.#tell('error', message);
                // A subscription that is refused is refused the next time too.
                if (this.#awaited.size > 0 && message.code !== 'RATE_LIMITED') {
                    this.#end(4501, `${message.code}: ${message.message}`);
                }
                break;
        }
    }

    #subscribed(message) {
        if (!this.#awaited.delete(message.project_id)) return;
        if (this.#awaited.size > 0) return;
        this.#stop('connect');
        this.#wait = FIRST_WAIT;
        this.#ping();
        const nothingSeen = this.#since === undefined && this.#wasLive;
        if (message.recovered === false || nothingSeen) this.#tell('gap', { since: this.#since });
        if (message.recovered !== true) this.#since = message.last_event_id;
        this.#wasLive = true;
        this.#state('live', { recovered: message.recovered, replayed: message.replayed });
    }

    /** Whether the page may hold a state that is out of date. */
    #wasLive = false;

    #ping() {
        this.#after('ping', jitter(PING_EVERY), () => {
            const socket = this.#socket;
            this.#say({ type: 'ping' });
            this.#after('pong', PONG_WITHIN, () => this.#drop(socket, 'nothing is heard'));
            this.#ping();
        });
    }

    /** Renews a minute before the end, whether or not the gateway's notice arrives. */
    #renewBefore(expiresAt) {
        const left = Date.parse(expiresAt) - Date.now() - 50_000;
        // A timer takes 31 bits.
        if (left > 0) this.#after('renew', Math.min(left, 2 ** 31 - 1), () => this.#renew());
    }

    async #renew() {
        this.#stop('renew');
        const socket = this.#socket;
        try {
            const token = await this.#token();
            if (socket === this.#socket) this.#say({ type: 'auth', token });
        } catch {
            // The connection is closed with 4001 then, and the next one asks again.
        }
    }

    /** Gives a connection up without waiting for the other side. */
    #drop(socket, reason) {
        if (socket !== this.#socket) return;
        socket.onclose = socket.onmessage = socket.onopen = null;
        socket.close();
        this.#closed(socket, 1006, reason);
    }

    #closed(socket, code, reason) {
        if (socket !== this.#socket || !this.#open) return;
        if (code >= 4500) {
            this.#end(code, reason);
        } else {
            this.#later(reason, code);
        }
    }

    #later(reason, code) {
        this.#quiet();
        // Told a time of its own, or twice as long as the last time.
        const wait = this.#told ?? jitter(this.#wait);
        if (this.#told === null) this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
        this.#told = null;
        this.#state('waiting', { code, reason, wait: Math.round(wait) });
        this.#after('again', wait, () => this.#connect());
    }

    #end(code, reason) {
        const socket = this.#socket;
        this.#open = false;
        this.#attempt++;
        this.#quiet();
        socket?.close(1000);
        this.#state('closed', { code, reason });
    }

    #quiet() {
        for (const timer of this.#timers.values()) clearTimeout(timer);
        this.#timers.clear();
        if (this.#socket) this.#socket.onmessage = this.#socket.onopen = null;
        this.#socket = null;
    }

    #after(name, milliseconds, what) {
        this.#stop(name);
        this.#timers.set(name, setTimeout(what, milliseconds));
    }

    #stop(name) {
        clearTimeout(this.#timers.get(name));
        this.#timers.delete(name);
    }

    #state(state, more = {}) {
        this.#tell('state', { state, ...more });
    }

    #tell(type, detail) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }
}
