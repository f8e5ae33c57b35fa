// The AI SDK, after the lines of the docs: each of its providers, whole and streamed, a second
// turn, tools. `model` is theirs.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { z } from "zod";

const [baseURL, plain, call] = process.argv.slice(2);
const note = readFileSync("note.txt", "utf8").trim();
const atMost = ai.isStepCount ?? ai.stepCountIs;
const question = "Why is the sky blue?";
const models = {
  responses: model,
  chat: mixtura.chat("default"),
  compatible: createOpenAICompatible({ name: "mixtura", baseURL, apiKey: "none" })("default"),
  messages: createAnthropic({ baseURL, apiKey: "none" })("default"),
};
const tools = {
  read_note: ai.tool({
    description: "Reads a note.",
    inputSchema: z.object({ name: z.string() }),
    execute: async ({ name }) => ({ text: readFileSync(name, "utf8") }),
  }),
};
globalThis.AI_SDK_LOG_WARNINGS = false;

for (const [name, model] of Object.entries(models)) {
  const first = await ai.generateText({ model, prompt: question });
  assert.equal(first.text, plain, name);
  assert.equal(first.finishReason, "stop", name);
  assert.ok(first.usage.totalTokens > 0 && first.usage.inputTokens > 0, name);

  const said = first.response.messages ?? first.responseMessages;
  const more = { role: "user", content: "And at night?" };
  const messages = [{ role: "user", content: question }, ...said, more];
  assert.equal((await ai.generateText({ model, messages })).text, plain, name);

  const live = ai.streamText({ model, prompt: question });
  let text = "";
  for await (const piece of live.textStream) text += piece;
  assert.equal(text, plain, name);
  assert.equal(await live.finishReason, "stop", name);

  const used = await ai.generateText({ model, tools, prompt: call, stopWhen: atMost(4) });
  assert.equal(used.steps.length, 2, name);
  assert.ok(used.text.includes(note), name);

  const acting = ai.streamText({ model, tools, prompt: call, stopWhen: atMost(4) });
  for await (const part of acting.fullStream) if (part.type === "error") throw part.error;
  assert.ok((await acting.text).includes(note), name);
  console.log(name, "works");
}
