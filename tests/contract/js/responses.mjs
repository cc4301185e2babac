// The official OpenAI client for Node over /v1/responses: plain, streamed, and followed on after a cut.
import OpenAI from "openai";

const [base, model, prompt, mode, other] = process.argv.slice(2);
const options = { apiKey: "none", maxRetries: 2 };
const client = new OpenAI({ baseURL: `${base}/v1`, ...options });
const found = { numbers: [], text: "", status: null, id: null, error: null };

function add(event) {
  found.numbers.push(event.sequence_number);
  found.id ??= event.response?.id ?? null;
  if (event.type === "response.output_text.delta") found.text += event.delta;
  found.status = event.response?.status ?? found.status;
}

try {
  if (mode === "plain") {
    const response = await client.responses.create({ model, input: prompt });
    const next = await client.responses.create({ model, input: "And?", previous_response_id: response.id });
    const items = [];
    for await (const item of client.responses.inputItems.list(next.id)) items.push(item.type);
    Object.assign(found, { text: response.output_text, status: next.status, id: response.id, items });
  } else {
    const background = mode === "background";
    const stream = await client.responses.create({ model, input: prompt, stream: true, background });
    try {
      for await (const event of stream) {
        add(event);
        if (found.numbers.length === 12) process.stderr.write("middle\n");
      }
    } catch (error) {
      found.cut = true;
    }
    if (background && found.status !== "completed") {
      const elsewhere = new OpenAI({ baseURL: `${other}/v1`, ...options });
      const rest = await elsewhere.responses.retrieve(found.id, {
        stream: true,
        starting_after: found.numbers.at(-1),
      });
      for await (const event of rest) add(event);
    }
  }
} catch (error) {
  found.error = error.message;
}
console.log(JSON.stringify(found));
