// The secretary's page: a file to send, what became of its rows, and the last files.

import { achar, dataHora, novo } from "./dom.js";
import { configuracao, pedir, SemResposta } from "./pedidos.js";
import { ligarPlanilha } from "./planilha.js";
import { entrar, ligarSessao } from "./sessao.js";

const FOLGA = 30; // seconds before its end at which a pass is not used any more
let passe = null;
let fim = 0;

/** A pass for the presigned URL service, from the server that knows who is logged in. */
async function mostrar() {
  if (!passe || Date.now() > fim) {
    const { status, corpo } = await pedir("/passe");
    if (status === 401) return entrar();
    if (status !== 200) throw new SemResposta();
    passe = corpo.passe;
    fim = Date.now() + (corpo.vale - FOLGA) * 1000;
  }
  return { Authorization: `Bearer ${passe}` };
}

const { uploads, limite_csv: limite } = await configuracao();
await ligarSessao("secretaria");

/** As `pedir`, of the presigned URL service. */
async function pedirUpload(caminho, metodo = "GET", corpo = undefined) {
  const resposta = await pedir(`${uploads}${caminho}`, metodo, corpo, await mostrar());
  if (resposta.status === 401) passe = null; // its secret was changed: the next try has a new one
  return resposta;
}

const ver = ligarPlanilha(pedirUpload, limite, listar);

async function listar() {
  try {
    const { status, corpo } = await pedirUpload("/uploads");
    if (status !== 200) return;
    achar("sem-envios").hidden = corpo.uploads.length > 0;
    achar("lista-envios").replaceChildren(...corpo.uploads.map(({ id, nome, em }) => {
      const botao = novo("button", { type: "button", class: "leve" }, "Ver");
      botao.setAttribute("aria-label", `Ver ${nome}`);
      botao.addEventListener("click", () => ver({ id, nome }));
      return novo("li", { "data-upload": id }, novo(
        "span", {}, novo("strong", {}, nome), novo("time", { datetime: em }, dataHora(new Date(em))),
      ), botao);
    }));
  } catch (erro) {
    if (!(erro instanceof SemResposta)) throw erro;
  }
}

await listar();
document.documentElement.dataset.pronta = "sim"; // what a test waits for
