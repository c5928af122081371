// The look before a file is converted: five rows, and which column fills which field.

import { achar, dormir, escrever, novo } from "./dom.js";
import { errosDe, SemResposta } from "./pedidos.js";
import { dizer, Recusado } from "./planilha.js";

const NOMES = {
  nome: "Nome", email: "E-mail", cpf: "CPF", curso: "Curso", data_nascimento: "Nascimento",
  valor_mensalidade: "Mensalidade", aceita_marketing: "Aceite de novidades",
};
const DE_NOVO = 0.5; // seconds between two questions, while S3 does not show the file yet
const VEZES = 20;

let atual = null; // what is being looked at: a later file takes its place

export function fecharPrevia() {
  atual = null;
  achar("previa").hidden = true;
}

/** Shows the first rows; `aoConfirmar()` is called when the file has gone on. Throws `Recusado` for a
 * file that cannot be read at all. */
export async function conferir(pedirUpload, upload, aoConfirmar) {
  const previa = await perguntar(pedirUpload, upload);
  atual = upload;
  desenhar(previa);
  achar("previa").hidden = false;
  dizer("", "");
  achar("previa").focus();

  for (const select of achar("mapa").querySelectorAll("select")) {
    select.addEventListener("change", () => tentar(pedirUpload, upload));
  }
  achar("previa-desistir").onclick = () => {
    fecharPrevia();
    dizer("", "Nada foi cadastrado: o arquivo foi deixado de lado.");
  };
  achar("previa-confirmar").onclick = async () => {
    const resposta = await pedirUpload(`/uploads/${upload.id}/confirmar`, "POST", dito()).catch(calado);
    if (atual !== upload) return;
    if (!resposta) return reclamar("Sem resposta. Tente de novo; nada se perdeu.");
    if (resposta.status !== 202) return reclamar(errosDe(resposta)[0].motivo);
    fecharPrevia();
    aoConfirmar();
  };
}

function calado(erro) {
  if (!(erro instanceof SemResposta)) throw erro;
  return null;
}

async function perguntar(pedirUpload, upload) {
  for (let vez = 0; vez < VEZES; vez += 1) {
    const { status, corpo } = await pedirUpload(`/uploads/${upload.id}/previa`);
    if (status === 200) return corpo;
    if (status === 422) throw new Recusado(errosDe({ status, corpo })[0].motivo);
    await dormir(DE_NOVO);
  }
  throw new SemResposta();
}

/** What is chosen now. */
function dito() {
  const mapa = {};
  for (const select of achar("mapa").querySelectorAll("select[data-campo]")) {
    if (select.value) mapa[select.dataset.campo] = select.value;
  }
  return { mapa, datas: achar("previa-datas").value };
}

async function tentar(pedirUpload, upload) {
  const resposta = await pedirUpload(`/uploads/${upload.id}/previa`, "POST", dito()).catch(calado);
  if (atual !== upload || !resposta) return;
  if (resposta.status === 200) mostrar(resposta.corpo);
  else reclamar(errosDe(resposta)[0].motivo);
}

function reclamar(motivo) {
  escrever(achar("previa-erro"), motivo ? `Ainda não serve: ${motivo}.`.replace("..", ".") : "");
}

/** What would become of each row that is shown. */
function mostrar({ erro, primeiras }) {
  reclamar(erro);
  const linhas = [...achar("previa-linhas").querySelectorAll("tbody tr")];
  linhas.forEach((linha, i) => {
    const { coluna = "", motivo = "" } = primeiras[i] ?? {};
    const celula = linha.querySelector(".destino");
    celula.dataset.tipo = erro ? "" : motivo ? "ruim" : "certo";
    escrever(celula, erro || !primeiras[i] ? "…" : motivo ? `${coluna}: ${motivo}` : "vira um aluno");
  });
}

function desenhar(previa) {
  const { colunas, linhas, campos, mapa, datas, lembrado } = previa;
  escrever(achar("previa-lembrado"), lembrado
    ? "As colunas são as do último arquivo com este cabeçalho." : "Confira qual coluna é qual dado.");
  achar("mapa").replaceChildren(...campos.map(({ campo, obrigatorio }) => {
    const id = `mapa-${campo}`;
    const vazia = novo("option", { value: "" }, obrigatorio ? "escolha…" : "nenhuma");
    const select = novo("select", { id, "data-campo": campo }, vazia,
      ...colunas.map((um) => novo("option", { value: um }, um)));
    select.value = mapa[campo] ?? "";
    return novo("div", { class: "campo" }, novo("label", { for: id }, NOMES[campo] ?? campo,
      ...(obrigatorio ? [] : [novo("span", { class: "opcional" }, " (opcional)")])), select);
  }), novo("div", { class: "campo" }, novo("label", { for: "previa-datas" }, "Datas"),
    novo("select", { id: "previa-datas" },
      novo("option", { value: "auto" }, "como o arquivo mostrar"),
      novo("option", { value: "dmy" }, "dia/mês/ano"),
      novo("option", { value: "mdy" }, "mês/dia/ano"))));
  achar("previa-datas").value = datas;
  const tabela = achar("previa-linhas");
  tabela.querySelector("thead").replaceChildren(novo("tr", {},
    novo("th", { scope: "col" }, "O que será"),
    ...colunas.map((um) => novo("th", { scope: "col" }, um))));
  tabela.querySelector("tbody").replaceChildren(...linhas.map((celulas) => novo("tr", {},
    novo("td", { class: "destino" }), ...celulas.map((uma) => novo("td", {}, uma)))));
  mostrar(previa);
}
