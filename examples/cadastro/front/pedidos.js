// Requests: JSON to the API, the presigned URL service and the server of the page, and what came back.

import { aviso, dormir } from "./dom.js";

/** Nobody answered: it is not known whether the other side did what was asked. */
export class SemResposta extends Error {}

/** `{status, corpo, espera}`; `espera`: seconds of Retry-After, or null. Throws `SemResposta`. */
export async function pedir(url, metodo = "GET", corpo = undefined, cabecalhos = {}) {
  let resposta;
  try {
    resposta = await fetch(url, {
      method: metodo,
      headers: corpo === undefined ? cabecalhos : { "Content-Type": "application/json", ...cabecalhos },
      body: corpo === undefined ? undefined : JSON.stringify(corpo),
      // Cookies go to the server of the page and to nobody else.
      credentials: "same-origin",
      referrerPolicy: "no-referrer",
      cache: "no-store",
    });
  } catch {
    throw new SemResposta();
  }
  const espera = Number.parseFloat(resposta.headers.get("Retry-After") ?? "");
  return {
    status: resposta.status,
    corpo: await resposta.json().catch(() => ({})),
    espera: Number.isFinite(espera) ? espera : null,
  };
}

/** The `erros` of an answer; one about the whole where it has none. */
export function errosDe({ status, corpo }) {
  if (Array.isArray(corpo.erros) && corpo.erros.length > 0) return corpo.erros;
  return [{ campo: "", motivo: `a resposta foi ${status}` }];
}

/** What the server says of the others; asks again until it answers, and tells so on the page. */
export async function configuracao() {
  for (;;) {
    try {
      const { status, corpo } = await pedir("config.json");
      if (status === 200) {
        aviso("");
        return corpo;
      }
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
    }
    aviso("O servidor da página ainda não responde. Tento de novo…");
    await dormir(1);
  }
}
