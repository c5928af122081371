// A page opened from disk may start no worker, and the search is one. Such a page gets a stand-in:
// the worker's script in a hidden frame, with the same few names on both sides. Messages are copied
// as they would be on their way to a worker: each side may change what it has.
if (location.protocol === "file:") {
  window.Worker = class {
    onmessage = null;
    onerror = null;
    onmessageerror = null;
    #frame = document.createElement("iframe");
    #waiting = [];
    #inside = null;

    constructor(url) {
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      // The script posts with self.postMessage, which in a frame would post to the frame itself.
      inside.postMessage = (message) => {
        const data = structuredClone(message);
        setTimeout(() => this.onmessage?.({ data }));
      };
      const script = inside.document.createElement("script");
      script.src = new URL(url, location.href).href;
      script.onload = () => {
        this.#inside = inside;
        for (const data of this.#waiting.splice(0)) this.postMessage(data);
      };
      script.onerror = (event) => this.onerror?.(event);
      inside.document.body.append(script);
    }

    postMessage(message) {
      const inside = this.#inside;
      const data = structuredClone(message);
      if (inside === null) this.#waiting.push(data);
      else setTimeout(() => inside.onmessage?.({ data }));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
