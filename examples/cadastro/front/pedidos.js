// The room of requests: JSON to the API and to the presigned URL service, and what came back.

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
      credentials: "omit",
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

/** A command to the painel. The header is what a form of another site cannot send. */
export const mandar = (caminho) => pedir(caminho, "POST", undefined, { "X-Cadastro": "1" });
