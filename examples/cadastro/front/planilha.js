// The CSV file: straight to S3 by a presigned URL, then what became of its rows, to the last one.

import { achar, dormir, escrever, novo, numero, quantos, tamanho } from "./dom.js";
import { errosDe, SemResposta } from "./pedidos.js";
import { conferir, fecharPrevia } from "./previa.js";

const TIPOS = {
  ".csv": ["text/csv", "application/vnd.ms-excel", "text/plain"],
  ".xlsx": ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
  ".zip": ["application/zip", "application/x-zip-compressed"],
};
const DE_NOVO = 0.7; // seconds between two questions about what became of a file
const LEMBRADO = "cadastro-upload"; // the last file's id and name: a page that is loaded anew goes on

export class Recusado extends Error {}
class Cancelado extends Error {}

/** `pedirUpload(caminho, metodo, corpo)` asks the presigned URL service; `aoEnviar()` is called when
 * a file has been sent. What it returns shows another file: `ver({id, nome})`. */
export function ligarPlanilha(pedirUpload, limite, aoEnviar) {
  const entrada = achar("arquivo");
  const enviar = achar("enviar");
  let cancelar = null;
  let id = null;

  escrever(achar("limite"), `Até ${tamanho(limite)}.`);
  entrada.addEventListener("change", () => {
    const [arquivo] = entrada.files;
    escrever(achar("nome-arquivo"), arquivo ? `${arquivo.name}, ${tamanho(arquivo.size)}` : "");
    recusar("");
  });
  ligarSoltar(entrada);
  achar("cancelar").addEventListener("click", () => cancelar?.());
  achar("baixar").addEventListener("click", () => baixar(pedirUpload, id));
  achar("baixar-tudo").addEventListener("click", () => baixarTudo(pedirUpload, id));
  function ver(upload) {
    id = upload.id;
    lembrar(upload);
    dizer("", "");
    achar("resultado").hidden = true;
    escrever(achar("r-arquivo"), upload.nome);
    // Not waited for: while the rows are decided another file may be sent.
    void acompanhar(pedirUpload, upload.id, () => id === upload.id);
  }

  const ultimo = lembrado();
  if (ultimo) ver(ultimo);

  achar("envio").addEventListener("submit", async (evento) => {
    evento.preventDefault();
    if (enviar.getAttribute("aria-disabled")) return;
    const [arquivo] = entrada.files;
    const errado = erroDe(arquivo, limite);
    recusar(errado);
    if (errado) return entrada.focus();
    fecharPrevia();
    enviar.setAttribute("aria-disabled", "true");
    achar("resultado").hidden = true;
    dizer("andamento", "Enviando o arquivo…");
    try {
      const enviado = await subir(pedirUpload, arquivo, (abortar) => { cancelar = abortar; });
      entrada.value = "";
      escrever(achar("nome-arquivo"), "");
      const upload = { id: enviado, nome: arquivo.name };
      achar("resultado").hidden = true;
      id = null; // whatever was looked at before
      dizer("andamento", "Enviado. Lendo as primeiras linhas…");
      await conferir(pedirUpload, upload, () => {
        ver(upload);
        aoEnviar();
      });
    } catch (erro) {
      if (erro instanceof Recusado) {
        dizer("", "");
        recusar(erro.message);
        entrada.focus();
      } else if (erro instanceof Cancelado) dizer("", "Envio cancelado. Nenhuma linha foi lida.");
      else if (erro instanceof SemResposta) dizer("ruim", "Sem resposta. Confira a conexão e envie de novo.");
      else throw erro;
    } finally {
      enviar.removeAttribute("aria-disabled");
      achar("envio-andamento").hidden = true;
      achar("cancelar").hidden = true;
    }
  });
  return ver;
}

function lembrado() {
  try {
    return JSON.parse(localStorage.getItem(LEMBRADO));
  } catch {
    return null; // a browser that keeps nothing, or something else under this name
  }
}

function lembrar(upload) {
  try {
    localStorage.setItem(LEMBRADO, JSON.stringify(upload));
  } catch { /* a browser that keeps nothing: the result is there until the page is left */ }
}

function ligarSoltar(entrada) {
  const lugar = achar("soltar");
  for (const nome of ["dragenter", "dragover"]) {
    lugar.addEventListener(nome, (evento) => {
      evento.preventDefault();
      lugar.classList.add("por-cima");
    });
  }
  lugar.addEventListener("dragleave", () => lugar.classList.remove("por-cima"));
  lugar.addEventListener("drop", (evento) => {
    evento.preventDefault();
    lugar.classList.remove("por-cima");
    if (evento.dataTransfer.files.length === 0) return;
    entrada.files = evento.dataTransfer.files;
    entrada.dispatchEvent(new Event("change"));
  });
}

const fimDe = (nome) => nome.toLowerCase().match(/\.[a-z]+$/)?.[0] ?? "";

function erroDe(arquivo, limite) {
  if (!arquivo) return "escolha um arquivo";
  if (!(fimDe(arquivo.name) in TIPOS)) return "o nome deve terminar em .csv, .xlsx ou .zip";
  if (arquivo.size === 0) return "está vazio";
  if (arquivo.size > limite) return `tem ${tamanho(arquivo.size)}; o limite é ${tamanho(limite)}`;
  return "";
}

function recusar(motivo) {
  escrever(achar("arquivo-erro"), motivo && `Arquivo: ${motivo}.`);
  if (motivo) achar("arquivo").setAttribute("aria-invalid", "true");
  else achar("arquivo").removeAttribute("aria-invalid");
}

export function dizer(tipo, texto) {
  achar("envio-estado").dataset.tipo = tipo;
  escrever(achar("envio-estado"), texto);
}

/** The upload's id. A URL that was refused is asked for once more: it may have been too old. */
async function subir(pedirUpload, arquivo, aoComecar) {
  const tipos = TIPOS[fimDe(arquivo.name)];
  const tipo = tipos.includes(arquivo.type) ? arquivo.type : tipos[0];
  for (let vez = 0; vez < 2; vez += 1) {
    const pedido = { nome: arquivo.name, tamanho: arquivo.size, tipo, conferir: true };
    const resposta = await pedirUpload("/uploads", "POST", pedido);
    if (resposta.status !== 201) throw new Recusado(errosDe(resposta)[0].motivo);
    const status = await por(resposta.corpo, arquivo, aoComecar);
    if (status >= 200 && status < 300) return resposta.corpo.id;
    if (status !== 403) throw new SemResposta();
  }
  throw new Recusado("o armazenamento não aceitou; escolha o arquivo de novo");
}

/** The status of the PUT. XMLHttpRequest, for `fetch` does not tell how much has been sent. */
function por({ url, metodo, cabecalhos }, arquivo, aoComecar) {
  return new Promise((pronto, falhou) => {
    const pedido = new XMLHttpRequest();
    pedido.open(metodo, url);
    for (const [nome, valor] of Object.entries(cabecalhos)) pedido.setRequestHeader(nome, valor);
    pedido.upload.addEventListener("progress", ({ loaded, total }) => {
      achar("barra").value = total ? (100 * loaded) / total : 0;
      escrever(achar("barra-texto"), `${tamanho(loaded)} de ${tamanho(total)}`);
    });
    pedido.addEventListener("load", () => pronto(pedido.status));
    pedido.addEventListener("error", () => falhou(new SemResposta()));
    pedido.addEventListener("abort", () => falhou(new Cancelado()));
    achar("barra").value = 0;
    escrever(achar("barra-rotulo"), `Enviando ${arquivo.name}`);
    achar("envio-andamento").hidden = false;
    achar("cancelar").hidden = false;
    aoComecar(() => pedido.abort());
    pedido.send(arquivo);
  });
}

/** Asks until every row is decided, or until `atual` says that another file is looked at. */
async function acompanhar(pedirUpload, id, atual) {
  while (atual()) {
    try {
      const { status, corpo } = await pedirUpload(`/uploads/${id}`);
      if (!atual()) return;
      if (status === 404) return;
      if (status === 200) {
        mostrar(corpo);
        if (corpo.estado === "recusado") {
          return dizer("ruim", `O arquivo não pode ser lido: ${corpo.motivo}`);
        }
        if (corpo.estado === "pronto") {
          const fora = recusadas(corpo) > 0;
          return dizer(fora ? "atencao" : "certo", fim(corpo));
        }
        dizer("andamento", agora(corpo));
      }
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
      dizer("andamento", "Sem resposta por enquanto. Tento de novo; o que foi enviado continua.");
    }
    await dormir(DE_NOVO);
  }
}

const recusadas = ({ rejeitadas, decididas }) => rejeitadas + (decididas?.recusados ?? 0);

function agora({ estado, esperando, linhas }) {
  if (estado === "aguardando") return "Arquivo enviado. Esperando a leitura…";
  if (estado === "lendo") return `Lendo as linhas: ${numero(linhas)} até agora…`;
  if (esperando === null) return "Lido. A API não diz quantas já decidiu; as linhas esperam na fila.";
  return `Lido. ${quantos(esperando, "linha espera", "linhas esperam")} a decisão da API…`;
}

function fim(corpo) {
  const { linhas, decididas: { novos, atualizados, iguais } } = corpo;
  const partes = [quantos(novos, "aluno novo", "alunos novos")];
  if (atualizados) partes.push(quantos(atualizados, "atualizado", "atualizados"));
  if (iguais) partes.push(`${numero(iguais)} já ${iguais === 1 ? "cadastrado" : "cadastrados"}`);
  const fora = recusadas(corpo);
  if (fora) partes.push(quantos(fora, "linha recusada", "linhas recusadas"));
  return `${quantos(linhas, "linha decidida", "linhas decididas")}: ${partes.join(", ")}.`;
}

function mostrar(corpo) {
  const { linhas, esperando, decididas, amostra, avisos = [], rejeitados_url: url } = corpo;
  const fora = recusadas(corpo);
  // What is not known is no zero.
  const ou = (valor) => (valor === null || valor === undefined ? "?" : numero(valor));
  achar("resultado").hidden = linhas === 0;
  escrever(achar("r-linhas"), numero(linhas));
  escrever(achar("r-esperando"), ou(esperando));
  escrever(achar("r-novos"), ou(decididas?.novos));
  escrever(achar("r-atualizados"), ou(decididas?.atualizados));
  escrever(achar("r-iguais"), ou(decididas?.iguais));
  escrever(achar("r-rejeitadas"), decididas ? numero(fora) : `${numero(fora)}+?`);
  achar("avisos").hidden = avisos.length === 0;
  achar("avisos").querySelector("ul").replaceChildren(...avisos.map((um) => novo("li", {}, um)));
  achar("rejeitadas").hidden = amostra.length === 0;
  achar("baixar").hidden = !url;
  achar("rejeitadas").querySelector("tbody").replaceChildren(...amostra.map((uma) => novo(
    "tr", {},
    novo("th", { scope: "row" }, numero(uma.linha)),
    novo("td", {}, uma.coluna || "a linha toda"),
    novo("td", {}, uma.motivo),
  )));
  const resto = fora - amostra.length;
  escrever(achar("rejeitadas-resto"), resto > 0 ? `E mais ${numero(resto)}, no resultado para baixar.` : "");
}

async function baixarTudo(pedirUpload, id) {
  try {
    const { status, corpo } = await pedirUpload(`/uploads/${id}/resultado`);
    if (status !== 200) throw new SemResposta();
    await salvar(corpo.url, "resultado.csv");
  } catch {
    dizer("ruim", "O resultado não pôde ser baixado. Tente de novo.");
  }
}

async function salvar(endereco, nome) {
  const resposta = await fetch(endereco, { credentials: "omit" });
  if (!resposta.ok) throw new SemResposta();
  const url = URL.createObjectURL(await resposta.blob());
  novo("a", { href: url, download: nome }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The URL lives 60 s, so a fresh one is asked for at the click. */
async function baixar(pedirUpload, id) {
  try {
    const { corpo } = await pedirUpload(`/uploads/${id}`);
    await salvar(corpo.rejeitados_url, "linhas-rejeitadas.csv");
  } catch {
    dizer("ruim", "As linhas rejeitadas não puderam ser baixadas. Tente de novo.");
  }
}
