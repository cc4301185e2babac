// Folds the logs on standard input with headrace.js, and prints the states.
import { readFileSync } from "node:fs";

const { fold } = await import(process.argv[2]);
const logs = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(logs.map((events) => events.reduce((state, event) => fold(state, event), fold()))));
