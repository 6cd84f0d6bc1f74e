const REFRESH = 2000;
const PATIENCE = 10000;
const HEARD_EVERY = 30000;
const parts = ["counts", "pace", "trouble", "rendering", "families", "best"];
const connection = document.getElementById("connection");
const heard = document.getElementById("heard");
const report = document.getElementById("report");
const frame = report.querySelector("iframe");
let heardAt = performance.now();

const numberOf = (root) => Number(root.querySelector("[data-number]")?.dataset.number ?? 0);
let shown = numberOf(document);

function put(fresh) {
  for (const id of parts) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (old.innerHTML !== next.innerHTML) old.replaceChildren(...next.childNodes);
  }
}

// A new report in place of the old one, at the place where the reader was.
function show(number) {
  if (number === shown) return;
  shown = number;
  report.hidden = false;
  if (!frame.hasAttribute("src")) {
    frame.src = "report/index.html";
    return;
  }
  const { scrollX, scrollY } = frame.contentWindow;
  frame.addEventListener("load", () => frame.contentWindow.scrollTo(scrollX, scrollY), { once: true });
  frame.contentWindow.location.reload();
}

// Numbers change every few seconds; a screen reader says them rarely.
function say() {
  if (performance.now() - heardAt < HEARD_EVERY) return;
  heardAt = performance.now();
  const text = document.querySelector("#counts p").textContent;
  if (heard.textContent !== text) heard.textContent = text;
}

function connected(is) {
  if (is === (connection.textContent === "")) return;
  const at = new Date().toLocaleTimeString();
  connection.textContent = is ? "" : `Connection lost at ${at}: what is below is from then. The watch command has ended or can't be reached.`;
}

async function refresh() {
  try {
    const response = await fetch("status", { signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(response.statusText);
    put(new DOMParser().parseFromString(await response.text(), "text/html"));
    show(numberOf(document));
    say();
    connected(true);
  } catch {
    connected(false);
  }
  setTimeout(refresh, REFRESH);
}

setTimeout(refresh, REFRESH);
