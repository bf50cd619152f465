"use strict";
// Everything that a model says is put in as text, never as HTML.

const byId = (id) => document.getElementById(id);
const sides = [];
let running = null;

function headers() {
  const key = byId("key").value;
  const result = { "Content-Type": "application/json" };
  if (key) result.Authorization = "Bearer " + key;
  return result;
}

async function ask(path, body, signal) {
  const options = body ? { method: "POST", headers: headers(), body: JSON.stringify(body), signal } : { headers: headers(), signal };
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let message = answer.status + " " + answer.statusText;
  try { message = (await answer.json()).error.message; } catch { /* no JSON: the status says it */ }
  throw new Error(message);
}

// The data of server-sent events, one by one.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function turn(side, role, text) {
  const element = document.createElement("div");
  element.className = "turn " + role;
  element.textContent = text;
  side.turns.append(element);
  return element;
}

async function answer(side, asked, signal) {
  const common = { model: side.model.value, stream: true, max_tokens: asked.tokens, temperature: asked.temperature, seed: 42 };
  const body = asked.chat
    ? { ...common, messages: side.messages }
    : { ...common, prompt: asked.message };
  const element = turn(side, "assistant", "");
  try {
    const stream = await ask(asked.chat ? "/v1/chat/completions" : "/v1/completions", body, signal);
    for await (const event of events(stream)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      element.textContent += (asked.chat ? choice.delta.content : choice.text) ?? "";
    }
  } catch (error) {
    if (error.name !== "AbortError") element.classList.add("failed");
    element.textContent += error.name === "AbortError" ? " …" : error.message;
  }
  if (asked.chat) side.messages.push({ role: "assistant", content: element.textContent });
}

// How likely a model finds the target behind what was asked, token by token.
async function showTarget(side, asked, signal) {
  side.target.hidden = !asked.target;
  if (!asked.target) return;
  const model = side.model.value;
  const prompt = asked.chat
    ? (await (await ask("/apply-template", { model, messages: side.messages }, signal)).json()).prompt
    : asked.message;
  const encode = async (content) =>
    (await (await ask("/tokenize", { model, content, add_special: !asked.chat }, signal)).json()).tokens;
  const [whole, beginning] = [await encode(prompt + asked.target), await encode(prompt)];
  // Where the target's first letters are in one token with the prompt's last ones, that token is the target's.
  let start = 0;
  while (start < beginning.length && whole[start] === beginning[start]) start += 1;
  const body = { model, prompt: whole, echo: true, max_tokens: 0, logprobs: 3 };
  const scores = (await (await ask("/v1/completions", body, signal)).json()).choices[0].logprobs;
  const chips = [];
  let sum = 0;
  for (let i = Math.max(start, 1); i < whole.length; i++) {
    const p = Math.exp(scores.token_logprobs[i]);
    sum += scores.token_logprobs[i];
    const chip = document.createElement("span");
    chip.className = "token";
    chip.style.background = `color-mix(in srgb, #dc2626 ${Math.round(70 * p)}%, transparent)`;
    chip.title = "likeliest here: " + Object.entries(scores.top_logprobs[i])
      .map(([token, value]) => `${JSON.stringify(token)} ${(100 * Math.exp(value)).toFixed(1)} %`).join(", ");
    const number = document.createElement("small");
    number.textContent = p >= 0.001 ? (100 * p).toFixed(1) + " %" : p.toExponential(0);
    chip.append(scores.tokens[i].replaceAll("\n", "⏎"), number);
    chips.push(chip);
  }
  side.target.querySelector(".tokens").replaceChildren(...chips);
  side.target.querySelector(".sum").textContent =
    `${chips.length} tokens, −ln p ${(-sum).toFixed(2)}: the text comes out with a probability of ${Math.exp(sum).toExponential(1)}`;
}

async function run(event) {
  event.preventDefault();
  if (running) return;
  const asked = {
    message: byId("message").value, target: byId("target").value, chat: byId("mode").value === "chat",
    tokens: Number(byId("tokens").value), temperature: Number(byId("temperature").value),
  };
  running = new AbortController();
  byId("stop").disabled = false;
  byId("notice").textContent = "";
  await Promise.all(sides.map(async (side) => {
    turn(side, "user", asked.message);
    if (asked.chat) side.messages.push({ role: "user", content: asked.message });
    try {
      await showTarget(side, asked, running.signal);
    } catch (error) {
      byId("notice").textContent = error.message;
    }
    await answer(side, asked, running.signal);
  }));
  running = null;
  byId("stop").disabled = true;
  document.body.dataset.state = "done";
}

function forget() {
  for (const side of sides) {
    side.messages = [];
    side.turns.replaceChildren();
    side.target.hidden = true;
  }
}

async function begin() {
  for (let number = 0; number < 2; number++) {
    byId("sides").append(byId("side").content.cloneNode(true));
    const article = byId("sides").lastElementChild;
    sides.push({
      model: article.querySelector(".model"), turns: article.querySelector(".turns"),
      target: article.querySelector(".target"), messages: [],
    });
  }
  byId("ask").addEventListener("submit", run);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("forget").addEventListener("click", forget);
  byId("key").addEventListener("change", listModels);
  await listModels();
}

async function listModels() {
  try {
    const names = (await (await ask("/v1/models")).json()).data.map((model) => model.id);
    sides.forEach((side, number) => {
      side.model.replaceChildren(...names.map((name) => new Option(name, name)));
      side.model.selectedIndex = Math.min(number, names.length - 1);
    });
    byId("notice").textContent = "";
  } catch (error) {
    byId("notice").textContent = error.message;
  }
}

begin();
