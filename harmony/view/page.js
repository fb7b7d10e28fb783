"use strict";
// Draws the page from the JSON in #data. Whatever comes from a stream is put in as text, never as
// markup. Positions count the tokens that were read: 0 is before the first, n after the last and
// the end of the stream.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const n = data.ids.length;
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const number = (value) => value.toLocaleString("en").replaceAll(",", "\u2009");

  // --- tokens ----------------------------------------------------------------------------------

  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const shown = new Map();
  const invisible = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;

  // What a token looks like: its text, and its class.
  const look = (id) => {
    if (shown.has(id)) return shown.get(id);
    const hex = data.bytes[id];
    let result;
    if (id in data.names) result = [data.names[id], "control"];
    else if (hex === null) result = ["no token", "control"];
    else {
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
      try {
        const text = utf8.decode(bytes);
        const seen = text
          .replace(invisible, (c) => (c === "\t" ? "\u21e5\t" : `\\u{${c.codePointAt(0).toString(16)}}`))
          .replaceAll("\n", "\u21b5\n");
        result = [seen, ""];
      } catch {
        result = [`<${hex.replace(/(..)(?=.)/g, "$1 ")}>`, "part"];
      }
    }
    shown.set(id, result);
    return result;
  };

  const flagged = new Map();
  for (const diagnostic of data.diagnostics) {
    const [start, stop] = diagnostic.span;
    for (let i = start; i < Math.max(stop, start + 1) && i < n; i++) flagged.set(i, diagnostic);
  }

  const PARTS = { S: "start", H: "header", C: "content", E: "end", "-": "skipped" };
  const facts = (i) => {
    const id = data.ids[i];
    const hex = data.bytes[id];
    const index = ownerOf(i);
    const rows = [["id", String(id)], ["position", `${number(i)} of ${number(n)}`]];
    rows.push(["bytes", hex === null ? "none: no token has this id" : hex.replace(/(..)(?=.)/g, "$1 ")]);
    rows.push(["part", PARTS[data.parts[i]] + (id in data.names ? ", control token" : "")]);
    if (entries[index].number !== undefined) rows.push(["message", String(entries[index].number)]);
    if (data.mask) rows.push(["trained on", data.mask[i] === "1" ? "yes" : "no"]);
    if (flagged.has(i)) rows.push(["diagnostic", sayDiagnostic(flagged.get(i))]);
    return rows;
  };
  const sayDiagnostic = (d) => (d.text ? `${d.kind}: ${d.text}` : d.kind);

  // --- entries: messages, and what was skipped between them --------------------------------------

  const entries = data.entries;
  const starts = entries.map((entry) => entry.span[0]);
  const lastAtOrBefore = (sorted, value) => {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };
  const ownerOf = (i) => Math.max(0, lastAtOrBefore(starts, i));
  // How much of an entry's text has come out once `position` tokens are read.
  const lengthAt = (entry, position) => {
    const at = lastAtOrBefore(entry.cutsAt, position);
    return at < 0 ? 0 : entry.cutsLength[at];
  };

  const oneLine = (text) => text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5");
  const notes = new Map();
  for (const diagnostic of data.diagnostics) {
    if (!notes.has(diagnostic.entry)) notes.set(diagnostic.entry, []);
    notes.get(diagnostic.entry).push(diagnostic);
  }

  const main = byId("messages");
  const drawn = [];
  entries.forEach((entry, index) => {
    entry.cutsAt = entry.cuts.map((cut) => cut[0]);
    entry.cutsLength = entry.cuts.map((cut) => cut[1]);
    const classes = [entry.role ?? "skipped", entry.channel === "analysis" && "analysis", entry.out && "out"];
    const article = make("article", classes.filter(Boolean).join(" "));
    article.id = `e${index}`;
    article.tabIndex = -1;
    const header = make("header");
    const title = make("h2", "", entry.role ?? "skipped");
    if (entry.name) title.textContent += ` ${entry.name}`;
    header.append(title);
    if (entry.channel) header.append(make("span", "channel", entry.channel));
    if (entry.recipient) header.append(make("span", "recipient", entry.recipient));
    if (entry.type) header.append(make("span", "type", entry.type));
    if (entry.out) header.append(make("span", "badge", "left out of the ids"));
    else if (entry.role && !entry.complete) header.append(make("span", "badge", "unfinished"));
    const [start, stop] = entry.span;
    let size = `${number(stop - start)} ${stop - start === 1 ? "token" : "tokens"}`;
    if (data.mask) {
      let trained = 0;
      for (let i = start; i < stop; i++) trained += data.mask[i] === "1";
      if (trained) size += ` \u00b7 ${number(trained)} trained`;
    }
    if (!entry.out) header.append(make("span", "size", size));
    const body = make("p", entry.code ? "body code" : "body");
    const text = document.createTextNode(entry.text);
    body.append(text);
    const tokens = make("div", "tokens");
    tokens.setAttribute("role", "listbox");
    tokens.setAttribute("aria-label", `Tokens of ${title.textContent} ${entry.channel ?? ""}`.trim());
    tokens.setAttribute("aria-orientation", "horizontal");
    article.append(header, body);
    if (notes.has(index)) {
      const list = make("ul", "notes");
      for (const diagnostic of notes.get(index)) {
        const item = make("li");
        item.append(make("code", "", diagnostic.kind), ` ${oneLine(diagnostic.text.slice(0, 200))}`);
        list.append(item);
      }
      article.append(list);
    }
    article.append(tokens);
    article.setAttribute("aria-label", [title.textContent, entry.channel, entry.recipient].filter(Boolean).join(", "));
    main.append(article);
    drawn.push({ article, text, tokens, spans: null });
  });

  // The tokens of an entry are drawn when it comes near the screen.
  const draw = (index) => {
    const { tokens, spans } = drawn[index];
    if (spans) return spans;
    const [start, stop] = entries[index].span;
    const all = [];
    const fragment = document.createDocumentFragment();
    for (let i = start; i < stop; i++) {
      const [text, kind] = look(data.ids[i]);
      const span = document.createElement("span");
      let className = kind ? `t ${kind}` : "t";
      if (data.parts[i] === "H" && !kind) className += " head";
      if (data.mask && data.mask[i] === "1") className += " trained";
      if (flagged.has(i)) className += " flag";
      if (i >= position) className += " later";
      span.className = className;
      span.textContent = text;
      span.dataset.i = i;
      span.tabIndex = i === start ? 0 : -1;
      span.setAttribute("role", "option");
      all.push(span);
      fragment.append(span);
    }
    tokens.append(fragment);
    drawn[index].spans = all;
    return all;
  };
  const spanOf = (i) => {
    const index = ownerOf(i);
    return draw(index)[i - entries[index].span[0]];
  };
  const near = new IntersectionObserver(
    (changes) => {
      for (const change of changes) {
        if (!change.isIntersecting) continue;
        near.unobserve(change.target);
        draw(Number(change.target.id.slice(1)));
      }
    },
    { rootMargin: "800px" },
  );

  // --- the tree ----------------------------------------------------------------------------------

  const links = [];
  const link = (index) => {
    const entry = entries[index];
    const anchor = make("a", entry.role ?? "skipped");
    anchor.href = `#e${index}`;
    anchor.append(make("b", "", entry.role === "tool" ? entry.name : (entry.role ?? "skipped")));
    const about = [entry.channel, entry.recipient && `\u2192 ${entry.recipient}`].filter(Boolean).join(" ");
    if (about) anchor.append(make("i", "", ` ${about}`));
    anchor.title = entry.text.slice(0, 160);
    links[index] = anchor;
    const item = make("li");
    item.append(anchor);
    return item;
  };
  const below = (item) => {
    if (!item.list) item.append((item.list = make("ol")));
    return item.list;
  };
  {
    // What the model says hangs below what it was asked, results below their calls.
    const top = make("ol");
    let asked = null;
    let calls = new Map();
    entries.forEach((entry, index) => {
      const item = link(index);
      if (entry.role === "assistant" || entry.role === "tool" || !entry.role) {
        const call = entry.role === "tool" ? calls.get(entry.name)?.shift() : null;
        (call ? below(call) : asked ? below(asked) : top).append(item);
        if (entry.role === "assistant" && entry.recipient) {
          if (!calls.has(entry.recipient)) calls.set(entry.recipient, []);
          calls.get(entry.recipient).push(item);
        }
      } else {
        top.append(item);
        asked = entry.role === "user" ? item : null;
        calls = new Map();
      }
    });
    byId("tree").append(top);
  }
  if (data.diagnostics.length) {
    byId("diagnostics").hidden = false;
    byId("diagnostics").open = true;
    data.diagnostics.slice(0, 500).forEach((diagnostic) => {
      const anchor = make("a");
      const at = Math.min(diagnostic.span[0], n - 1);
      anchor.href = `#e${diagnostic.entry}`;
      anchor.append(make("code", "", diagnostic.kind));
      anchor.append(make("i", "", ` at ${number(diagnostic.span[0])}${diagnostic.text ? `: ${diagnostic.text.slice(0, 80)}` : ""}`));
      anchor.addEventListener("click", (event) => {
        event.preventDefault();
        goTo(at);
      });
      const item = make("li");
      item.append(anchor);
      byId("diagnostic-list").append(item);
    });
  }
  {
    const messages = entries.filter((entry) => entry.role && !entry.out).length;
    const out = entries.filter((entry) => entry.out).length;
    const some = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
    let text = `${some(messages, "message")} \u00b7 ${some(n, "token")}`;
    if (out) text += ` \u00b7 ${number(out)} left out`;
    if (data.diagnostics.length) text += ` \u00b7 ${some(data.diagnostics.length, "diagnostic")}`;
    byId("facts").textContent = text;
  }

  // --- replay ------------------------------------------------------------------------------------

  const slider = byId("position");
  slider.max = n;
  let position = n;
  let current = -1;
  const STATES = { E: "EXPECT_START", H: "HEADER", C: "CONTENT" };

  const diagnosticsAt = data.diagnostics.map((diagnostic) => diagnostic.at);
  const describe = () => {
    const last = position ? ownerOf(position - 1) : -1;
    const entry = last < 0 ? null : entries[last];
    const known = entry?.role && position >= entry.headerStop ? entry : null;
    byId("now-state").textContent = STATES[data.states[position]];
    byId("now-role").textContent = known?.role ?? "\u2013";
    byId("now-channel").textContent = known?.channel ?? "\u2013";
    byId("now-recipient").textContent = known?.recipient ?? "\u2013";
    let delta = "";
    if (entry) delta = entry.text.slice(lengthAt(entry, position - 1), lengthAt(entry, position));
    byId("now-delta").textContent = delta ? oneLine(delta) : "\u2013";
    const at = lastAtOrBefore(diagnosticsAt, position);
    const newest = at >= 0 && diagnosticsAt[at] === position && position > 0 ? data.diagnostics[at] : null;
    byId("now-diagnostic").textContent = newest ? oneLine(sayDiagnostic(newest)) : at >= 0 ? `${number(at + 1)} so far` : "none";
    byId("now-diagnostic").classList.toggle("new", Boolean(newest));
    byId("count").textContent = `${number(position)} of ${number(n)}`;
    slider.value = position;
    slider.setAttribute("aria-valuetext", `${position} of ${n} tokens, ${byId("now-state").textContent}`);
    byId("back").disabled = position === 0;
    byId("forward").disabled = position === n;
    return last;
  };

  const showPosition = (wanted) => {
    const next = Math.max(0, Math.min(n, wanted));
    const [low, high] = next < position ? [next, position] : [position, next];
    const later = next < position;
    position = next;
    if (n && low < high) {
      for (let index = ownerOf(low); index <= ownerOf(high - 1); index++) {
        const { article, text, spans } = drawn[index];
        const entry = entries[index];
        const [start, stop] = entry.span;
        if (entry.out) continue;
        article.classList.toggle("future", start >= position);
        article.classList.toggle("unread", start < position && position < entry.headerStop);
        const length = lengthAt(entry, position);
        if (text.length !== length) text.data = entry.text.slice(0, length);
        if (spans)
          for (let i = Math.max(low, start); i < Math.min(high, stop); i++)
            spans[i - start].classList.toggle("later", later);
      }
    }
    const last = describe();
    if (last !== current) {
      if (drawn[current]) drawn[current].article.classList.remove("current");
      if (links[current]) links[current].removeAttribute("aria-current");
      current = last;
      if (drawn[current]) drawn[current].article.classList.add("current");
      if (links[current]) links[current].setAttribute("aria-current", "true");
    }
  };

  let timer = 0;
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    byId("play").textContent = "\u25B6\uFE0E";
    byId("play").setAttribute("aria-label", "Play");
  };
  const follow = () => {
    if (position) drawn[ownerOf(position - 1)].article.scrollIntoView({ block: "nearest" });
  };
  const play = () => {
    if (timer) return pause();
    if (position === n) showPosition(0);
    byId("play").textContent = "\u275A\u275A";
    byId("play").setAttribute("aria-label", "Pause");
    timer = setInterval(() => {
      showPosition(position + 1);
      follow();
      if (position === n) pause();
    }, 40);
  };
  const step = (by) => {
    pause();
    showPosition(position + by);
    follow();
  };
  slider.addEventListener("input", () => {
    pause();
    showPosition(slider.valueAsNumber);
  });
  slider.addEventListener("change", follow);
  byId("play").addEventListener("click", play);
  byId("back").addEventListener("click", () => step(-1));
  byId("forward").addEventListener("click", () => step(1));

  // --- what one token is -------------------------------------------------------------------------

  const tip = byId("tip");
  const tell = (span) => {
    const table = make("table");
    const body = make("tbody");
    for (const [name, value] of facts(Number(span.dataset.i))) {
      const row = make("tr");
      const head = make("th", "", name);
      head.scope = "row";
      row.append(head, make("td", "", value));
      body.append(row);
    }
    table.append(body);
    tip.replaceChildren(table);
    tip.hidden = false;
    const box = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    const floor = document.querySelector(".transport").getBoundingClientRect().top;
    tip.style.top = `${box.bottom + height + 16 < floor ? box.bottom + 8 : box.top - height - 8}px`;
  };
  const tokenOf = (event) => (event.target instanceof Element ? event.target.closest(".t") : null);
  main.addEventListener("pointerover", (event) => {
    const span = tokenOf(event);
    if (span) tell(span);
    else tip.hidden = true;
  });
  main.addEventListener("pointerleave", () => (tip.hidden = true));
  main.addEventListener("focusin", (event) => {
    const span = tokenOf(event);
    if (!span) return;
    tell(span);
    byId("spoken").textContent = facts(Number(span.dataset.i)).map((row) => row.join(" ")).join(", ");
  });
  main.addEventListener("focusout", () => (tip.hidden = true));
  // The token with the focus keeps its tip: moving the focus may scroll.
  const scrolled = () => {
    if (document.activeElement?.matches(".t")) tell(document.activeElement);
    else tip.hidden = true;
  };
  addEventListener("scroll", scrolled, { passive: true });
  main.addEventListener("keydown", (event) => {
    const span = tokenOf(event);
    if (!span) return;
    const i = Number(span.dataset.i);
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 }[event.key];
    if (to >= 0 && to < n) {
      event.preventDefault();
      focusToken(to);
    } else if (event.key === "Enter") {
      pause();
      showPosition(i + 1);
    }
  });
  main.addEventListener("dblclick", (event) => {
    const span = tokenOf(event);
    if (span) showPosition(Number(span.dataset.i) + 1);
  });
  const focusToken = (i) => {
    const span = spanOf(i);
    for (const other of span.parentNode.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    span.tabIndex = 0;
    span.focus();
  };
  let here = null;
  const goTo = (i) => {
    here?.classList.remove("here");
    here = spanOf(i);
    here.classList.add("here");
    here.scrollIntoView({ block: "center" });
  };

  // --- search ------------------------------------------------------------------------------------

  // A find is a place in a text, [entry, start, stop], or a token, [entry, -1, position].
  let finds = [];
  let find = -1;
  const MOST_FINDS = 2000;
  const highlights = globalThis.Highlight && CSS.highlights ? CSS.highlights : null;
  const look_for = (query) => {
    finds = [];
    const id = /^id:(\d+)$/.exec(query);
    const at = /^@(\d+)$/.exec(query);
    if (at && Number(at[1]) < n) finds.push([ownerOf(Number(at[1])), -1, Number(at[1])]);
    else if (id) {
      for (let i = 0; i < n && finds.length < MOST_FINDS; i++)
        if (data.ids[i] === Number(id[1])) finds.push([ownerOf(i), -1, i]);
    } else if (query) {
      const wanted = query.toLowerCase();
      entries.forEach((entry, index) => {
        const text = entry.text.toLowerCase();
        const mayDiffer = text.length !== entry.text.length;
        for (let from = text.indexOf(wanted); from >= 0 && finds.length < MOST_FINDS; from = text.indexOf(wanted, from + wanted.length))
          finds.push([index, mayDiffer ? 0 : from, mayDiffer ? 0 : from + wanted.length]);
      });
    }
    find = -1;
    mark();
  };
  const rangeOf = ([index, start, stop]) => {
    const node = drawn[index].text;
    if (start < 0 || stop > node.length) return null;
    const range = new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: stop });
    return range;
  };
  const mark = () => {
    const count = finds.length === MOST_FINDS ? `${MOST_FINDS}+` : finds.length;
    byId("found").textContent = byId("query").value ? `${find + 1 ? `${find + 1}/` : ""}${count}` : "";
    if (!highlights) return;
    highlights.set("find", new Highlight(...finds.map(rangeOf).filter(Boolean)));
    highlights.set("found", new Highlight(...[finds[find] && rangeOf(finds[find])].filter(Boolean)));
  };
  const nextFind = (by) => {
    if (!finds.length) return;
    find = (find + by + finds.length) % finds.length;
    const [index, start, stop] = finds[find];
    if (position < n) showPosition(n);
    mark();
    if (start < 0) goTo(stop);
    else {
      const range = document.createRange();
      range.setStart(drawn[index].text, start);
      range.setEnd(drawn[index].text, stop);
      drawn[index].article.scrollIntoView({ block: "nearest", behavior: "instant" });
      const box = range.getBoundingClientRect();
      if (box.top < 90 || box.bottom > innerHeight - 130) scrollBy({ top: box.top - innerHeight / 2, behavior: "instant" });
    }
  };
  byId("query").addEventListener("input", (event) => look_for(event.target.value.trim()));
  byId("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      nextFind(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") event.target.blur();
  });
  byId("search").addEventListener("submit", (event) => event.preventDefault());

  // --- switches and keys --------------------------------------------------------------------------

  const toggle = (button, className, pressedWhen) => {
    const on = root.classList.toggle(className);
    button.setAttribute("aria-pressed", String(on === pressedWhen));
  };
  const toggleTokens = () => toggle(byId("tokens-button"), "hide-tokens", false);
  const toggleMask = () => data.mask && toggle(byId("mask-button"), "mask", true);
  byId("mask-button").hidden = !data.mask;
  const store = (key, value) => {
    try {
      return value === undefined ? localStorage.getItem(key) : localStorage.setItem(key, value);
    } catch {
      return null;
    }
  };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggleTheme = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    store("harmony-view-theme", root.dataset.theme);
  };
  const theme = store("harmony-view-theme");
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  byId("tokens-button").addEventListener("click", toggleTokens);
  byId("mask-button").addEventListener("click", toggleMask);
  byId("theme-button").addEventListener("click", toggleTheme);
  byId("help-button").addEventListener("click", () => byId("help").showModal());

  const nextMessage = (by) => {
    const top = drawn.findIndex(({ article }) => article.getBoundingClientRect().bottom > 90);
    const focused = drawn.findIndex(({ article }) => article === document.activeElement);
    const index = focused >= 0 ? focused + by : top + (by > 0 && drawn[top]?.article.getBoundingClientRect().top > 60 ? 0 : by);
    const target = drawn[Math.max(0, Math.min(drawn.length - 1, index))];
    if (!target) return;
    target.article.focus({ preventScroll: true });
    target.article.scrollIntoView({ block: "start" });
  };
  const KEYS = {
    "/": () => byId("query").focus(),
    j: () => nextMessage(1),
    k: () => nextMessage(-1),
    " ": play,
    ",": () => step(-1),
    ".": () => step(1),
    t: toggleTokens,
    m: toggleMask,
    d: toggleTheme,
    "?": () => byId("help").showModal(),
  };
  addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches?.('input[type="search"]') || byId("help").open) return;
    if (event.key === " " && target.matches?.("button, summary, a")) return;
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  if (matchMedia("(max-width: 52rem)").matches) byId("outline").open = byId("diagnostics").open = false;
  describe();
  if (n) {
    current = ownerOf(n - 1);
    if (links[current]) links[current].setAttribute("aria-current", "true");
  }
  drawn.forEach(({ article }) => near.observe(article));
  document.body.dataset.ready = "true";
})();
