// <!-- events: generated from headrace/events/types.py by `python docs/generate.py` -->
/** An attempt begins: always the first event of an epoch. */
export interface AttemptStartEvent {
  t: "attempt.start";
  id: string;
  /** the attempts so far, from 1 */
  n: number;
  /** what was shown is void */
  reset: boolean;
  /** `claim`, `crash`, or why it began anew */
  reason: string;
}

/** The call goes out. Before any delta. */
export interface AttemptRouteEvent {
  t: "attempt.route";
  id: string;
  provider: string;
  model: string;
  deployment: string;
  /** the answer comes from the cache */
  cached: boolean;
  /** how the schema was put to the model */
  mode?: string;
  /** the text that comes has not the shape of the answer */
  lowered?: boolean;
  /** of an alias, why this one: `first`, `weight`, `least_busy`, `fallback`, `probe` */
  why?: string;
}

/** The reason for a pause in the stream. */
export interface StatusEvent {
  t: "status";
  id?: string;
  /** `retrying`, `rate_limited`; of the gateway's own: `stalled` */
  phase: string;
  /** for people: `openai says wait 20 s` */
  detail: string;
  /** when it goes on, in milliseconds since 1970 */
  until_ms?: number;
}

/** A piece of the answer's text. */
export interface TextDeltaEvent {
  t: "text.delta";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** the piece */
  d: string;
  /** logprobs of its tokens */
  lp?: unknown[];
}

/** A piece of the reasoning. */
export interface ReasoningDeltaEvent {
  t: "reasoning.delta";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** the piece */
  d: string;
  /** logprobs of its tokens */
  lp?: unknown[];
}

/** A piece of a refusal. */
export interface RefusalDeltaEvent {
  t: "refusal.delta";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** the piece */
  d: string;
  /** logprobs of its tokens */
  lp?: unknown[];
}

/** A tool call begins. */
export interface ToolStartEvent {
  t: "tool.start";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the call, from 0 */
  i: number;
  /** the provider's id of the call */
  call_id: string;
  name: string;
  /** `function` or `custom` */
  type: string;
}

/** A piece of a call's arguments. */
export interface ToolDeltaEvent {
  t: "tool.delta";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the call, from 0 */
  i: number;
  /** the piece */
  d: string;
}

/** The arguments of a call are complete. */
export interface ToolEndEvent {
  t: "tool.end";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the call, from 0 */
  i: number;
}

/** A piece of a sound. */
export interface AudioDeltaEvent {
  t: "audio.delta";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the piece, in base64 */
  d: string;
  /** the provider's id of the sound */
  audio_id?: string;
  /** more of its transcript */
  tr?: string;
  /** the time at which the id expires, in seconds since 1970 */
  exp?: number;
}

/** One more annotation. */
export interface AnnotationEvent {
  t: "annotation";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** as the provider has it */
  a: unknown;
}

/** One more generated image. */
export interface ImageEvent {
  t: "image";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** as the provider has it */
  a: unknown;
}

/** One more citation. */
export interface CitationEvent {
  t: "citation";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** the part of the message */
  p: number;
  /** as the provider has it */
  a: unknown;
}

/** Fields that have no name here, as the provider has them. */
export interface RawEvent {
  t: "raw";
  id: string;
  /** the choice, from 0 */
  c: number;
  /** they are of that tool call */
  i?: number;
  /** by where: `answer`, `choice`, `message`; reasoning as it came: `details` */
  o: Record<string, unknown>;
}

/** The tokens of the answer. */
export interface UsageEvent {
  t: "usage";
  id: string;
  /** `input_tokens`, `output_tokens`, and what is known beside */
  u: Record<string, unknown> | null;
}

/** The attempt so far: takes the place of all its earlier events. */
export interface SnapshotEvent {
  t: "snapshot";
  id: string;
  /** the number of the last event that is in it */
  upto: number;
  /** the fields of `attempt.start` */
  attempt: Record<string, unknown>;
  /** the fields of `attempt.route`; none before it */
  route: Record<string, unknown>;
  /** the first choice, as OpenAI's assistant message */
  message: Record<string, unknown>;
  logprobs?: Record<string, unknown[]>;
  /** what `raw` told */
  extra?: Record<string, Record<string, unknown>>;
  /** the other choices */
  others?: { c: number; message: Record<string, unknown>; logprobs?: Record<string, unknown[]>; extra?: Record<string, Record<string, unknown>> }[];
  usage?: Record<string, unknown>;
  end?: Record<string, unknown>;
}

/** The job has ended: exactly one, the last event. */
export interface EndEvent {
  t: "end";
  id: string;
  /** `succeeded`, `failed`, `cancelled`, `dead` */
  status: string;
  /** `code`, `message`, `retryable`, `provider_status` */
  error?: Record<string, unknown>;
  /** of each choice `c` the `reason` */
  finish?: { c: number; reason: string | null }[];
  /** as in `usage` */
  usage?: Record<string, unknown>;
  /** the answer comes from the cache */
  cached?: boolean;
  /** milliseconds to the first piece (`ttft`) and to the end (`total`) */
  ms?: Record<string, unknown>;
  /** the one that the provider answered in */
  service_tier?: string;
  /** of the provider's system */
  system_fingerprint?: string;
}

/** One event of a job's log. A newer gateway may tell of more types: pass them over. */
export type Event =
  | AttemptStartEvent
  | AttemptRouteEvent
  | StatusEvent
  | TextDeltaEvent
  | ReasoningDeltaEvent
  | RefusalDeltaEvent
  | ToolStartEvent
  | ToolDeltaEvent
  | ToolEndEvent
  | AudioDeltaEvent
  | AnnotationEvent
  | ImageEvent
  | CitationEvent
  | RawEvent
  | UsageEvent
  | SnapshotEvent
  | EndEvent;
// <!-- /events -->

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
  readonly end: (EndEvent & { status: "succeeded" | "failed" | "cancelled" | "dead" }) | null;
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
