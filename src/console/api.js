// Asks the server that served this page. Whatever goes wrong becomes a Problem (RFC 9457).

// Addresses are relative, so that the console works behind a proxy's path too.
const ROOT = new URL(".", location.href);
const KEY = "flywheel.key";

export class Problem extends Error {
  constructor({ status, title, detail, path, hint }) {
    super(detail || title || "The request failed");
    Object.assign(this, { status, title, path, hint });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

export async function request(method, path, { body, accept = "application/json", signal, type = "application/json" } = {}) {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = type;
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { method, headers, body: text, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server cannot be reached", detail: "The server cannot be reached", hint: "Is it still running?" });
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({ title: response.statusText }));
    const problem = new Problem({ ...said, status: response.status });
    if (response.status === 401 || response.status === 403) document.dispatchEvent(new CustomEvent("key-needed", { detail: problem }));
    throw problem;
  }
  return accept === "application/json" ? response.json() : response.text();
}

export const get = (path, options) => request("GET", path, options);

// Runs a query. Adds how long the whole way took.
export async function query(kind, body, signal) {
  const begun = performance.now();
  const result = await request("POST", `v1/query/${kind}`, { body, signal });
  return { ...result, roundtrip: performance.now() - begun };
}

// The command that asks the same.
export function curl(kind, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const header = key.get() ? " -H 'Authorization: Bearer '\"$FLYWHEEL_KEY\"" : "";
  return `curl ${new URL(`v1/query/${kind}`, ROOT)}${header} -d '${quoted}'`;
}

export const enc = encodeURIComponent;
