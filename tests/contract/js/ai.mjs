// The AI SDK's chat with its DefaultChatTransport: sent, cut in the middle, resumed.
import { AbstractChat, DefaultChatTransport } from "ai";

class State {
  messages = [];
  status = "ready";
  error = undefined;
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (at, message) => (this.messages = this.messages.map((one, place) => (place === at ? message : one)));
  snapshot = (value) => structuredClone(value);
}
class Chat extends AbstractChat {
  constructor({ state = new State(), ...init }) {
    super({ ...init, state });
  }
}

const [base, model, prompt, other] = process.argv.slice(2);
const errors = [];
const made = (api, state) =>
  new Chat({
    id: "chat-1",
    state,
    transport: new DefaultChatTransport({ api: `${api}/v1/ui/chat`, body: { model } }),
    onError: (error) => errors.push(error.message),
  });
const text = (chat) =>
  chat.messages.map((message) => `${message.role}: ${message.parts.filter((part) => part.type === "text").map((part) => part.text).join("")}`);

const state = new State();
const chat = made(base, state);
const sending = chat.sendMessage({ text: prompt });
while (!(state.messages[1]?.parts.findLast((part) => part.type === "text")?.text.length > 40)) await new Promise((go) => setTimeout(go, 10));
const before = text(chat);
process.stderr.write("middle\n");
await sending.catch(() => {});
const broken = { status: chat.status, errors: [...errors] };
const again = made(other, state);
await again.resumeStream();
const after = { status: again.status, text: text(again), ids: again.messages.map((message) => message.id) };
const count = again.messages.length;
await made(other, state).resumeStream(); // nothing runs any more: 204
console.log(JSON.stringify({ before, broken, after, same: state.messages.length === count }));
