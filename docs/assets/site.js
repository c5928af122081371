// The search's index is larger than all the rest of a page. It is fetched when somebody is about to
// search: the pointer comes to the header, a key is pressed, or the address asks for marked words.
{
  const asked = new Promise((resolve) => {
    const options = { once: true, capture: true, passive: true };
    for (const event of ["keydown", "pointerdown", "touchstart"]) {
      addEventListener(event, resolve, options);
    }
    addEventListener("pointerover", function listen({ target }) {
      if (target.closest?.(".md-header")) {
        removeEventListener("pointerover", listen);
        resolve();
      }
    });
    if (new URLSearchParams(location.search).has("h")) resolve();
  });
  const { open, send } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.waits = String(url).endsWith("/search.json");
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (this.waits) asked.then(() => send.call(this, body));
    else send.call(this, body);
  };
}

// What can be moved sideways can be moved with the keyboard: wide tables, which the theme wraps, and
// code, whose tabindex it takes away where there is no mouse.
addEventListener("load", () => {
  const reachable = () => {
    for (const one of document.querySelectorAll(".md-typeset__scrollwrap, pre > code")) {
      if (one.tabIndex !== 0) one.tabIndex = 0;
    }
  };
  reachable();
  new MutationObserver(reachable).observe(document.body, {
    childList: true,
    subtree: true,
    attributeFilter: ["tabindex"],
  });
});
