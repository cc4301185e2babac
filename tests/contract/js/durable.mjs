// The Durable Streams client: every message of a stream until it is closed, and where it stopped. A connection that breaks off
// is made again, from the offset after the last batch.
import { stream } from "@durable-streams/client";

const [url, live] = process.argv.slice(2);
const backoffOptions = { initialDelay: 100, maxDelay: 1000, multiplier: 1.5 };
const items = [];
let [offset, closed, cuts] = ["-1", false, 0];
while (!closed) {
  const response = await stream({ url, offset, live: live === "none" ? false : live, json: true, backoffOptions });
  await new Promise((resolve) => {
    response.subscribeJson((batch) => {
      items.push(...batch.items);
      offset = batch.offset;
      closed = batch.streamClosed;
      if (items.filter((each) => each.t === "text.delta").length >= 5) process.stderr.write("five\n");
      if (closed) resolve();
    });
    response.closed.catch(() => (cuts++, resolve()));
  });
}
console.log(JSON.stringify({ items, offset, closed, cuts }));
