// TanStack AI's client over AG-UI: its stream is cut in the middle and resumes by itself.
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

const [address, model, prompt] = process.argv.slice(2);
const requests = [];
const errors = [];
let told = false;
const watched = async (url, init) => {
  requests.push(new Headers(init?.headers).get("last-event-id"));
  return fetch(url, init);
};
const client = new ChatClient({
  connection: fetchServerSentEvents(`${address}/v1/ag-ui?model=${encodeURIComponent(model)}`, { fetchClient: watched, reconnect: { maxAttempts: 20, delayMs: 250 } }),
  onError: (error) => errors.push(error.message),
  onMessagesChange: (messages) => {
    const length = JSON.stringify(messages.at(-1)?.parts ?? "").length;
    if (!told && messages.at(-1)?.role === "assistant" && length > 100) {
      told = true;
      process.stderr.write("middle\n");
    }
  },
});
await client.sendMessage(prompt);
const messages = client.getMessages().map(({ role, parts }) => ({
  role,
  text: parts.filter((part) => part.type === "text").map((part) => part.content ?? part.text).join(""),
}));
console.log(JSON.stringify({ requests, errors, messages }));
process.exit(0);
