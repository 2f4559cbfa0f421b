// Renew a part of a page in place: what is the same stays as it is, with its focus, its marks and its place, and only the rest
// is laid out and drawn anew. htmx does so where a page says hx-swap="renew".
"use strict";
(() => {
  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && (node.id || node.dataset.key)) || "";
  const isAlike = (old, now) => old.nodeType === now.nodeType && old.nodeName === now.nodeName;

  const renewAttributes = (old, now) => {
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const name of old.getAttributeNames()) {
      // Whether details are open is up to whoever reads them.
      if (!now.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
  };

  // Elements are the same by their id or data-key, others by their place. One that is shown no more becomes the one that has
  // come to its place, which takes a fraction of making that: most of two rows is alike. What somebody did to it is undone.
  const renewChildren = (old, now) => {
    const wanted = new Set();
    for (const child of now.children) wanted.add(keyOf(child));
    const known = new Map();
    const spare = new Set();
    for (const child of old.children) {
      const key = keyOf(child);
      if (key && wanted.has(key)) known.set(key, child);
      else if (key) spare.add(child);
    }
    let at = old.firstChild;
    const drop = () => {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    };
    for (const next of [...now.childNodes]) {
      const key = keyOf(next);
      const same = key ? known.get(key) : at && !keyOf(at) && isAlike(at, next) ? at : null;
      if (same) while (spare.has(at)) drop();
      if (same && same === at) at = at.nextSibling;
      else if (same) old.insertBefore(same, at);
      if (same) {
        renew(same, next);
      } else if (key && spare.has(at) && isAlike(at, next) && !at.contains(document.activeElement)) {
        const other = at;
        at = at.nextSibling;
        if (other.nodeName === "INPUT") { other.checked = next.checked; other.value = next.value; }
        if (other.nodeName === "DETAILS") other.open = next.open;
        renew(other, next);
      } else {
        old.insertBefore(next, at);
      }
    }
    while (at) drop();
  };

  const renew = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== now.data) old.data = now.data;
      return;
    }
    renewAttributes(old, now);
    renewChildren(old, now);
  };

  htmx.defineExtension("renew", {
    isInlineSwap: (style) => style === "renew",
    handleSwap: (style, target, fragment) => {
      if (style !== "renew") return false;
      const now = fragment.getElementById(target.id);
      if (now) renew(target, now);
      return []; // nothing in it is htmx's
    },
  });
})();
