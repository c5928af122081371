// Opens the site's pages in a frame, one after the other, and posts what it finds. What is right and
// what is wrong is decided in browser.py.
const post = (answer) =>
  fetch("/__check/answers", { method: "POST", body: JSON.stringify(answer) });
const questions = await (await fetch("/__check/questions")).json();

async function opened(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:950px;border:0`;
  frame.src = `/${page}`;
  document.body.replaceChildren(frame);
  await new Promise((done) => (frame.onload = done));
  return frame;
}

const paint = (within) => new Promise((done) => within.setTimeout(done, 50));

async function look({ page, width, scheme }) {
  const frame = await opened(page, width);
  const inside = frame.contentWindow;
  const root = inside.document;
  root.body.setAttribute("data-md-color-scheme", scheme === "dark" ? "slate" : "default");
  const still = root.createElement("style");
  still.textContent = "*,*::before,*::after{transition:none!important;animation:none!important}";
  root.head.append(still);
  const script = root.createElement("script");
  script.src = "/__check/axe.js";
  const loaded = new Promise((done) => (script.onload = done));
  root.head.append(script);
  await loaded;
  await paint(inside);
  const { violations } = await inside.axe.run(root, {
    resultTypes: ["violations"],
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
  });
  const axe = violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => {
      const data = node.any[0]?.data?.contrastRatio ?? "";
      return `${id} ${data}: ${help}: ${node.html.replace(/\s+/g, " ").slice(0, 160)}`;
    }),
  );
  const sessions = [...root.querySelectorAll("pre > code")].filter((one) => one.querySelector(".gp"));
  const copied = sessions.map((one) => {
    one.setAttribute("data-md-copying", "");
    const text = one.innerText;
    one.removeAttribute("data-md-copying");
    return text;
  });
  const wide = root.documentElement.scrollWidth;
  return {
    where: `${page} (${width} pixels, ${scheme})`,
    axe: [...new Set(axe)],
    copied,
    wider: wide > width ? wide : 0,
  };
}

// The page as it is printed: what its sheets say of paper is said of this frame, as wide as an A4 page.
async function print({ page, scheme }) {
  const width = 680;
  const frame = await opened(page, width);
  const root = frame.contentWindow.document;
  root.body.setAttribute("data-md-color-scheme", scheme === "dark" ? "slate" : "default");
  const swap = (rules) => {
    for (const rule of rules) {
      if (rule.media) {
        rule.media.mediaText = rule.media.mediaText.replace(/\b(print|screen)\b/g, (one) =>
          one === "print" ? "screen" : "print",
        );
      }
      if (rule.cssRules) swap(rule.cssRules);
    }
  };
  for (const sheet of root.styleSheets) swap(sheet.cssRules);
  await paint(frame.contentWindow);
  const style = (one) => frame.contentWindow.getComputedStyle(one);
  const shown = [...root.querySelectorAll(questions.notPrinted)].filter(
    (one) => one.getClientRects().length && style(one).visibility !== "hidden",
  );
  const cut = [...root.querySelectorAll("article :is(pre, pre > code, table, svg, img, p, li)")].filter(
    (one) =>
      one.getBoundingClientRect().right > width + 1 ||
      (one.matches("pre, code, table") && one.scrollWidth > one.clientWidth + 1),
  );
  const dark = [root.documentElement, root.body].filter((one) => style(one).colorScheme !== "light");
  const told = (one) => `${one.localName}.${one.className.baseVal ?? one.className}`;
  return {
    where: `${page} (printed, ${scheme})`,
    printed: shown.map(told),
    cut: cut.map((one) => `${told(one)}: ${one.textContent.trim().slice(0, 60)}`),
    dark: dark.map(told),
  };
}

async function weigh(page) {
  const frame = await opened(page, 1400);
  await new Promise((done) => setTimeout(done, 1500)); // what a script fetches later, too
  const inside = frame.contentWindow;
  const names = () => inside.performance.getEntriesByType("resource").map((one) => one.name);
  const fetched = [inside.location.href, ...names()];
  inside.dispatchEvent(new KeyboardEvent("keydown", { key: "k", ctrlKey: true }));
  for (let waited = 0; waited < 10_000; waited += 100) {
    if (names().some((name) => name.endsWith("/search.json"))) return { where: page, fetched };
    await new Promise((done) => setTimeout(done, 100));
  }
  return { where: page, fetched, error: "a key was pressed, and the search's index was not fetched" };
}

async function search(language, queries) {
  const home = `/${questions.homes[language].replace("index.html", "")}`;
  const page = await (await fetch(`${home}index.html`)).text();
  const { search: script } = JSON.parse(
    new DOMParser().parseFromString(page, "text/html").getElementById("__config").textContent,
  );
  const index = await (await fetch(`${home}search.json`)).json();
  const worker = new Worker(new URL(script, new URL(home, location.href)));
  const answered = () => new Promise((done) => (worker.onmessage = ({ data }) => done(data)));
  let next = answered();
  worker.postMessage({ type: 0, data: index });
  await next;
  const first = {};
  for (const words of queries) {
    next = answered();
    const filter = {
      input: { type: "operator", data: { operator: "and", operands: [] } },
      aggregation: { input: [{ type: "term", data: { field: "tags" } }] },
    };
    worker.postMessage({ type: 2, data: { input: words, filter } });
    const { data } = await next;
    const item = data?.items?.[0];
    first[words] = item === undefined ? "nothing" : index.items[item.id].location;
  }
  return { language, searches: first };
}

async function answer(where, ask) {
  try {
    await post(await ask());
  } catch (error) {
    await post({ where, error: String(error) });
  }
}

for (const [language, queries] of Object.entries(questions.searches)) {
  await answer(`search in ${language}`, () => search(language, queries));
}
for (const page of Object.values(questions.homes)) await answer(page, () => weigh(page));
for (const one of questions.prints) await answer(one.page, () => print(one));
for (const one of questions.looks) await answer(one.page, () => look(one));
await post({ end: true });
