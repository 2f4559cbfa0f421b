// What pages do beyond HTML: hear of news and ask for themselves again, and keep what somebody has marked meanwhile.
// Everything works without it, but for the news.
"use strict";
(() => {
  const body = document.body;
  const line = document.getElementById("connection");
  const show = (text, bad) => {
    if (line && line.textContent !== text) line.textContent = text;
    if (line) line.classList.toggle("bad", Boolean(bad));
  };

  // News. A page that nobody sees listens to none: browsers have few connections for all pages of a site.
  let stream = null;
  let again = 0;
  const listen = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(body.dataset.events);
    stream.addEventListener("open", () => { again = 0; show("live"); });
    stream.addEventListener("looked", () => { if (!isBusy() && isTime()) htmx.trigger(body, "looked"); });
    stream.addEventListener("over", retry);
    stream.addEventListener("error", () => {
      show("connection lost; trying again", true);
      if (stream && stream.readyState === EventSource.CLOSED) retry();
    });
  };
  // Whoever is logged out is sent to the log-in by the answer to what the page asks for.
  const retry = () => {
    stop();
    show("connection lost; trying again", true);
    again = Math.min(again + 1, 5);
    setTimeout(() => { listen(); htmx.trigger(body, "looked"); }, 500 * 2 ** again);
  };
  const stop = () => { if (stream) stream.close(); stream = null; };
  document.addEventListener("visibilitychange", () => { if (document.hidden) { stop(); show("asleep"); } else { listen(); htmx.trigger(body, "looked"); } });
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", () => { if (body.dataset.events) listen(); });

  // What is dear to ask for is asked for less often.
  let asked = Date.now();
  const main = document.getElementById("main");
  const isTime = () => {
    if (Date.now() - asked < 1000 * Number(main.dataset.every || 0)) return false;
    asked = Date.now();
    return true;
  };

  // Ages grow by themselves.
  const ahead = Date.now() / 1000 - Number(body.dataset.now); // this clock, of the manager's
  const UNITS = [["y", 31557600], ["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const brief = (seconds) => {
    const first = UNITS.findIndex(([, length]) => seconds >= length);
    if (first < 0) return "0s";
    const [name, length] = UNITS[first];
    const [next, part] = UNITS[first + 1] || ["", 1];
    const rest = next ? Math.floor((seconds % length) / part) : 0;
    return Math.floor(seconds / length) + name + (rest ? rest + next : "");
  };
  const grow = () => {
    if (document.hidden) return;
    const now = Date.now() / 1000 - ahead;
    for (const age of document.querySelectorAll("time[data-since]")) {
      const text = brief(Math.max(0, Math.floor(now - age.dataset.since)));
      if (age.textContent !== text) age.firstChild.data = text;
    }
  };
  setInterval(grow, 1000);

  // Whoever writes into a field of what would be replaced is not disturbed.
  const isBusy = () => {
    const at = document.activeElement;
    return Boolean(at && at.closest("#live") && (at.matches("select, textarea") || (at.matches("input") && at.type !== "checkbox")));
  };

  // What was marked, opened or scrolled stays so when a part of the page is replaced.
  let kept = null;
  body.addEventListener("htmx:beforeSwap", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401) { event.detail.shouldSwap = false; return; }
    if (event.detail.target.id !== "live") return;
    const live = document.getElementById("live");
    kept = {
      marked: [...live.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.id),
      open: [...live.querySelectorAll("details[id]")].map((part) => [part.id, part.open]),
    };
  });
  body.addEventListener("htmx:afterSwap", () => {
    if (!kept) return;
    const live = document.getElementById("live");
    for (const id of kept.marked) { const box = document.getElementById(id); if (box) box.checked = true; }
    for (const [id, open] of kept.open) { const part = document.getElementById(id); if (part) part.open = open; }
    count();
    kept = null;
  });
  // A page says what it shows, and is sent nothing if nothing but ages has changed.
  body.addEventListener("htmx:configRequest", (event) => {
    if (event.target.id === "live") event.detail.headers["Damocles-Shown"] = event.target.dataset.state;
    const usual = (name) => { const field = event.target.elements && event.target.elements[name]; return (field && field.dataset && field.dataset.usual) || ""; };
    for (const [name, value] of [...event.detail.formData.entries()]) if (value === usual(name)) event.detail.formData.delete(name);
  });
  body.addEventListener("htmx:sendError", () => show("connection lost; trying again", true));
  body.addEventListener("htmx:responseError", (event) => { if (event.detail.xhr.status === 401) show("logged out: load the page again", true); });

  // How many threads are marked: the rows may be far below.
  const count = () => {
    const told = document.getElementById("marked");
    if (!told) return;
    const number = document.querySelectorAll("#threads tbody input[name=thread]:checked").length;
    const text = number ? (number === 1 ? told.dataset.one : `${number} ${told.dataset.many}`) : "";
    if (told.textContent !== text) told.textContent = text;
  };
  body.addEventListener("change", (event) => {
    if (event.target.id === "page-all") for (const box of document.querySelectorAll("#threads tbody input[name=thread]")) box.checked = event.target.checked;
    count();
  });
  count();
  // The log of a stage: lines are text, whatever they hold.
  const log = document.getElementById("lines");
  const MOST = 200000; // characters that are kept
  if (log) {
    let lines = null;
    let last = 0;
    const follow = () => {
      if (lines || document.hidden) return;
      const address = new URL(log.dataset.log, location.href);
      if (last) address.searchParams.set("after", last);
      lines = new EventSource(address);
      lines.addEventListener("line", (event) => {
        const line = JSON.parse(event.data);
        const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
        last = line.number;
        const at = new Date(line.at * 1000);
        const time = isNaN(at) ? "" : at.toISOString().slice(0, 19) + "Z ";
        log.append(`${time}${line.stage}[${line.pid}] ${line.text}`.replace(/\p{C}/gu, "\u00b7") + "\n");
        if (log.textContent.length > MOST) log.textContent = log.textContent.slice(-MOST / 2);
        if (isAtEnd) log.scrollTop = log.scrollHeight;
      });
      // A worker that is away comes back, and its numbers go on.
      lines.addEventListener("over", () => { unfollow(); setTimeout(follow, 5000); });
    };
    const unfollow = () => { if (lines) lines.close(); lines = null; };
    document.addEventListener("visibilitychange", () => (document.hidden ? unfollow() : follow()));
    window.addEventListener("pagehide", unfollow);
    log.scrollTop = log.scrollHeight;
    follow();
  }
  if (body.dataset.events) listen();
})();
