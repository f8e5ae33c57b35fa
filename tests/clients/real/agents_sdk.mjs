// The OpenAI Agents SDK: a run, a second turn in both ways, a tool, a stream, a handoff.
import * as agents from "@openai/agents";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { z } from "zod";

const [plainText, call, handOver] = process.argv.slice(2);
const { Agent, run, tool } = agents;
const note = readFileSync("note.txt", "utf8").trim();
const readNote = tool({
  name: "read_note",
  description: "Reads a note.",
  parameters: z.object({ name: z.string() }),
  execute: async ({ name }) => readFileSync(name, "utf8"),
});

for (const api of ["responses", "chat_completions"]) {
  agents.setOpenAIAPI(api);
  const plain = new Agent({ name: "plain", instructions: "Be brief." });
  const first = await run(plain, "Why is the sky blue?");
  assert.equal(first.finalOutput, plainText);
  const more = { role: "user", content: "And at night?" };
  assert.equal((await run(plain, [...first.history, more])).finalOutput, plainText);
  if (api === "responses") {
    const linked = await run(plain, "And at night?", { previousResponseId: first.lastResponseId });
    assert.equal(linked.finalOutput, plainText);
  }

  const reader = new Agent({ name: "reader", tools: [readNote] });
  assert.ok((await run(reader, call)).finalOutput.includes(note));
  const live = await run(reader, call, { stream: true });
  let text = "";
  for await (const piece of live.toTextStream()) text += piece;
  await live.completed;
  assert.ok(text.includes(note), text);

  const helper = new Agent({ name: "helper", instructions: "Help." });
  const handed = await run(Agent.create({ name: "front", handoffs: [helper] }), handOver);
  assert.equal(handed.lastAgent.name, "helper");
  console.log(api, "works");
}
