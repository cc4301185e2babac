// What the parsers of two clients for Node make of an event stream, which comes on stdin and is given to them in small pieces.
import { createParser } from "eventsource-parser";
import { Stream } from "openai/streaming";

const pieces = [];
for await (const piece of process.stdin) pieces.push(piece);
const body = Buffer.concat(pieces);
const size = 61;

const events = [];
const parser = createParser({ onEvent: ({ id, data }) => events.push([id ?? null, data]) });
const decoder = new TextDecoder();
for (let at = 0; at < body.length; at += size) parser.feed(decoder.decode(body.subarray(at, at + size), { stream: true }));

const stream = new ReadableStream({
  start(controller) {
    for (let at = 0; at < body.length; at += size) controller.enqueue(new Uint8Array(body.subarray(at, at + size)));
    controller.close();
  },
});
const openai = [];
for await (const value of Stream.fromSSEResponse(new Response(stream), new AbortController())) openai.push(value);
console.log(JSON.stringify({ events, openai }));
