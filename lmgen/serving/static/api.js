// The server: questions as JSON, answers as JSON or as a stream of events. Errors are its sentences.

const dialog = document.getElementById("key");
let key = sessionStorage.getItem("key");

function askForKey() {
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        key = dialog.querySelector("input").value;
        sessionStorage.setItem("key", key);
        resolve();
      },
      { once: true },
    );
    if (!dialog.open) dialog.showModal();
  });
}

async function answer(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  if (response.status === 401) {
    await askForKey();
    return answer(path, body, signal);
  }
  if (!response.ok) {
    const content = await response.json().catch(() => null);
    throw new Error(content?.error?.message ?? `The server answered ${response.status}.`);
  }
  return response;
}

/** The answer to a question: a JSON object. */
export async function ask(path, body, signal) {
  return (await answer(path, body, signal)).json();
}

/** The texts of a model, as /v1/completions gives them: [index, text, ended] for each part that arrives. */
export async function* completions(body, signal) {
  const response = await answer("/v1/completions", body, signal);
  if (!response.headers.get("content-type").startsWith("text/event-stream")) {
    for (const choice of (await response.json()).choices) yield [choice.index, choice.text, choice.finish_reason];
    return;
  }
  let held = "";
  for await (const part of parts(response.body.pipeThrough(new TextDecoderStream()))) {
    const lines = (held + part).split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      for (const choice of event.choices) yield [choice.index, choice.text, choice.finish_reason];
    }
  }
}

async function* parts(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
