// Shows new entries as they come, and brings the rest of the page up to date a moment later.
"use strict";
(() => {
  const main = document.querySelector("main");
  const link = document.getElementById("link");
  const pause = document.getElementById("pause");
  const only = main.dataset.worker;
  let seq = Number(main.dataset.seq), source = null, timer = 0, retry = 0, wait = 1000, paused = false;

  const say = (word) => { link.textContent = word; link.dataset.word = word; };

  // Whoever reads or selects text is not disturbed, and who stands on a link stays there.
  async function refresh() {
    clearTimeout(timer);
    timer = 0;
    if (document.hidden || !getSelection().isCollapsed) return later();
    const answer = await fetch(location.href).catch(() => null);
    // Without an answer it is asked again in a while; without the token's session the page asks for the token.
    if (!answer) return;
    if (answer.status === 401) return location.reload();
    const text = await answer.text();
    if (paused) return;
    const held = document.activeElement?.id;
    wait = Math.max(1000, text.length / 100);
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (now && now.outerHTML !== old.outerHTML) old.replaceWith(document.adoptNode(now));
    }
    if (held && document.activeElement?.id !== held) document.getElementById(held)?.focus({ preventScroll: true });
  }
  const later = () => { if (!paused) timer ||= setTimeout(refresh, wait); };

  function entry(message) {
    const { at, worker, text } = JSON.parse(message.data);
    seq = Number(message.lastEventId);
    later();
    if (only && worker !== only) return;
    const row = document.createElement("li"), who = document.createElement(worker ? "a" : "span");
    who.textContent = worker || "controller";
    who.className = worker ? "" : "nobody";
    if (worker) who.href = "/workers/" + encodeURIComponent(worker);
    const time = document.createElement("time"), what = document.createElement("bdi");
    [time.textContent, what.textContent, row.className] = [at, text, "new"];
    row.append(time, " ", ...(only ? [] : [who, " "]), what);
    const list = document.getElementById("events");
    list.prepend(row);
    while (list.children.length > 50) list.lastElementChild.remove();
  }

  function connect() {
    source = new EventSource("/events?after=" + seq);
    source.addEventListener("open", () => say("live"));
    source.addEventListener("entry", entry);
    source.addEventListener("gap", later);
    source.addEventListener("error", () => {
      if (paused) return;
      say("reconnecting");
      if (source.readyState !== EventSource.CLOSED) return;
      // A refusal is final for the browser: whether the page may still be seen, the refresh finds out.
      later();
      retry = setTimeout(connect, 10000);
    });
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    clearTimeout(retry);
    clearTimeout(timer);
    timer = 0;
    if (paused) { source.close(); say("paused"); } else { connect(); later(); }
    pause.textContent = paused ? "Go on" : "Pause";
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && timer) refresh(); });
  setInterval(later, 15000);
  connect();
})();
