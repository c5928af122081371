// The calculator of the cost page. It computes from the form's own fields, speaks the page's
// language and asks no network.
(() => {
  const DAYS = 30;
  const CHUNK = 64; // KB; each one of a request is billed, begun ones too
  const POLLS = (DAYS * 86400) / 20;
  const form = document.getElementById("cost");
  if (!form) return;
  const value = (name) => Math.max(0, Number(form.elements[name].value) || 0);
  const said = {
    en: (sns, work, idle, sum) =>
      `Publish ${sns}, receive and delete ${work}, idle polls at most ` +
      `${idle}: ${sum} in ${DAYS} days.`,
    pt: (sns, work, idle, sum) =>
      `Publicar: ${sns}; receber e apagar: ${work}; polls ociosos, no máximo: ${idle}. ` +
      `Ao todo, ${sum} em ${DAYS} dias.`,
  };
  const lang = document.documentElement.lang || "en";
  const sentence = said[lang.slice(0, 2)] || said.en;
  const money = (usd) => usd.toLocaleString(lang, { style: "currency", currency: "USD" });
  const show = () => {
    const ten = (name) => Math.min(10, Math.max(1, value(name)));
    const requests = (messages, batch) =>
      (messages / batch) * Math.max(1, Math.ceil((value("size") * batch) / CHUNK));
    const batch = ten("batch");
    const messages = value("events") * DAYS * value("services");
    const copies = value("events") * DAYS * value("copies");
    const sns = (requests(copies, ten("together")) * value("sns")) / 1e6;
    const work = ((requests(messages, batch) + messages / batch) * value("sqs")) / 1e6;
    const idle = (value("services") * value("workers") * POLLS * value("sqs")) / 1e6;
    form.elements.result.value = sentence(...[sns, work, idle, sns + work + idle].map(money));
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
