/** One event of a job's log; fields beside `t` and `id` depend on `t` (docs/streaming.md). Only a `status` of the gateway's own has no id. */
export interface Event { t: string; id?: string; [field: string]: unknown }

export interface ToolCall { id: string; name: string; arguments: string; done: boolean }

export interface State {
  readonly content: string;
  readonly reasoning: string;
  readonly refusal: string;
  readonly toolCalls: readonly ToolCall[];
  readonly annotations: readonly unknown[];
  /** Parts of generated images: `{type: "image_url", image_url: {url}}`. */
  readonly images: readonly unknown[];
  readonly citations: readonly unknown[];
  readonly attempt: number;
  readonly attempts: readonly { n: number; reason: string; provider?: string; model?: string; cached?: boolean }[];
  readonly status: { phase: string; detail?: unknown } | null;
  readonly route: { provider: string; model: string; deployment?: string; cached?: boolean } | null;
  readonly usage: Record<string, unknown> | null;
  readonly end: (Event & { status: "succeeded" | "failed" | "cancelled" | "dead" }) | null;
}

export interface Options {
  job: string;
  /** The gateway; the page's own origin when left out. */
  url?: string;
  /** Called before every connection. */
  getToken?: () => string | undefined | Promise<string | undefined>;
  /** The id of the last event that was seen. */
  after?: string;
  transport?: "sse" | "ws";
  signal?: AbortSignal;
  /** How often the gateway speaks at least; after 2.5 times that in silence the connection is made anew. */
  heartbeatMs?: number;
  onStatus?: (status: "live" | "reconnecting") => void;
}

export interface Stream extends AsyncIterable<Event> {
  /** The id of the last event: give it as `after` to go on later. */
  readonly cursor: string;
  /** Stop the job. False when it had ended already. */
  cancel(): Promise<boolean>;
  /** Stop watching; the job goes on. */
  close(): void;
}

export class StreamError extends Error {
  readonly code: number;
  readonly result?: string | null;
}

export function openStream(options: Options): Stream;
export function fold(state?: State, event?: Event): State;
export function isAfter(id: string, other: string): boolean;
/** The value of a JSON text that is still on its way (`whole`: that is all of it); null when it holds none. */
export function partialJson(text: string, whole?: boolean): unknown;
