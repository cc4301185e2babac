// Follows a job with headrace.js from a cursor, and prints the ids of what comes.
const [client, url, job, after, transport] = process.argv.slice(2);
const { openStream } = await import(client);
const ids = [];
for await (const event of openStream({ url, job, after, transport })) if (event.id) ids.push(event.id);
process.stdout.write(JSON.stringify(ids));
