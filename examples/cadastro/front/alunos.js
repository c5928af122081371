// What arrived: the last messages of each queue, and one student compared across them.

import { achar, dataHora, dormir, escrever, horas, novo } from "./dom.js";
import { pedir, SemResposta } from "./pedidos.js";
import { SERVICOS } from "./servicos.js";

const MOSTRADOS = 12; // messages of each service on the page
const LEMBRADOS = 100; // events of each service that are not shown a second time
const TROCA = 4000; // milliseconds for which a student of a file stays in the table
const PERGUNTA = 1; // seconds between two questions about the student in the table
const CAMPOS = {
  nome: "Nome", email: "E-mail", cpf: "CPF", curso: "Curso", valor_mensalidade: "Mensalidade",
  data_matricula: "Matrícula", origem: "Origem", aluno_id: "Id do aluno",
};
/** What nobody receives, and why: it would be odd if the table did not say so. */
const DE_NINGUEM = { senha: "Senha", aceita_marketing: "Aceite" };

const OCULTO = "•••"; // what the server puts in place of what is personal

const reais = new Intl.NumberFormat("pt-BR", { style: "currency", currency: "BRL" });

/** A field's value as people write it; null where it was not given. */
function legivel(campo, valor) {
  if (valor === null || valor === undefined || valor === "") return null;
  if (valor === OCULTO) return "oculto";
  if (campo === "valor_mensalidade") return reais.format(Number(valor));
  if (campo === "data_matricula") return dataHora(new Date(valor));
  if (campo === "cpf") return String(valor).replace(/^(\d{3})(\d{3})(\d{3})(\d{2})$/, "$1.$2.$3-$4");
  if (campo === "origem") return valor === "csv" ? "CSV" : "formulário";
  return String(valor);
}

/** The last messages of one service, newest on top. */
export class Mensagens {
  #lista = novo("ol", { class: "mensagens" });
  #vazia = novo("p", { class: "dica" }, "Nada ainda.");
  #vistos = []; // ids of events: a new connection begins with the newest again

  constructor(servico) {
    const { nome } = SERVICOS[servico];
    const detalhes = novo(
      "details", { class: "cartao", "data-servico": servico },
      novo("summary", {}, nome),
      novo("div", { class: "rolar alto", role: "region", tabindex: "0", "aria-label": `Últimas mensagens: ${nome}` }, this.#vazia, this.#lista),
    );
    detalhes.open = window.matchMedia("(min-width: 45rem)").matches;
    this.raiz = detalhes;
  }

  chegaram(alunos) {
    const vistos = new Set(this.#vistos);
    const ineditos = alunos.filter(({ evento_id: id }) => !vistos.has(id));
    if (ineditos.length === 0) return;
    this.#vistos = [...this.#vistos, ...ineditos.map(({ evento_id: id }) => id)].slice(-LEMBRADOS);
    this.#vazia.hidden = true;
    const novos = ineditos.slice(-MOSTRADOS).map((um) => this.#item(um)).reverse();
    this.#lista.prepend(...novos);
    while (this.#lista.children.length > MOSTRADOS) this.#lista.lastChild.remove();
  }

  #item({ campos, recebido_em: quando }) {
    const conhecidos = Object.keys(CAMPOS).filter((campo) => campo in campos);
    const outros = Object.keys(campos).filter((campo) => !(campo in CAMPOS));
    const pares = [...conhecidos, ...outros].map((campo) => {
      const valor = legivel(campo, campos[campo]);
      return novo(
        "div", { "data-campo": campo }, novo("dt", {}, CAMPOS[campo] ?? campo),
        novo("dd", { class: valor === null ? "nada" : null, title: valor }, valor ?? "não informado"),
      );
    });
    return novo("li", {}, novo("time", { datetime: quando }, horas(new Date(quando))), novo("dl", {}, ...pares));
  }
}

/** The table of one student: a row for each field, a column for each service. */
export class Comparacao {
  #seguido = null; // an id
  #preso = false; // somebody asked for this one: others do not push it away
  #desde = 0; // when it was chosen
  #visto = {}; // service -> campos
  #marketingEmDia = false;
  #perguntando = new Set();

  constructor() {
    achar("comparacao").querySelector("thead").replaceChildren(novo(
      "tr", {}, novo("th", { scope: "col" }, "Campo"),
      ...Object.entries(SERVICOS).map(([servico, { nome, curto }]) => novo(
        "th", { scope: "col", "data-servico": servico },
        novo("span", { class: "longo" }, nome), novo("span", { class: "curto", "aria-hidden": "true" }, curto),
      )),
    ));
  }

  /** The student with this id, until another is asked for; "" follows whoever comes next. */
  seguir(id) {
    this.#preso = id !== "";
    if (!id) return;
    this.#escolher(id);
    for (const servico of Object.keys(SERVICOS)) this.#perguntar(servico);
  }

  estados(servicos) {
    const marketing = servicos.find(({ servico }) => servico === "marketing");
    const emDia = marketing?.estado === "ligado" && marketing.na_fila === 0;
    if (emDia === this.#marketingEmDia) return;
    this.#marketingEmDia = emDia;
    this.#desenhar();
  }

  chegaram(servico, alunos) {
    if (alunos.length === 0) return;
    const novato = alunos.at(-1).aluno_id;
    if (!this.#preso && servico === "plataforma" && Date.now() - this.#desde > TROCA) {
      this.#escolher(novato);
    }
    if (!this.#seguido || servico in this.#visto) return;
    const achado = alunos.findLast((um) => um.aluno_id === this.#seguido);
    if (achado) {
      this.#visto[servico] = achado.campos;
      this.#desenhar();
    } else this.#perguntar(servico);
  }

  #escolher(id) {
    this.#seguido = id;
    this.#desde = Date.now();
    this.#visto = {};
    this.#desenhar();
  }

  /** Messages hold only the newest: ask for this one, at most once a second of each service. */
  async #perguntar(servico) {
    if (this.#perguntando.has(servico)) return;
    this.#perguntando.add(servico);
    await dormir(PERGUNTA);
    this.#perguntando.delete(servico);
    const id = this.#seguido;
    if (servico in this.#visto) return;
    try {
      const { status, corpo } = await pedir(`/servicos/${servico}/alunos/${encodeURIComponent(id)}`);
      if (status !== 200 || this.#seguido !== id) return;
      this.#visto[servico] = corpo.campos;
      this.#desenhar();
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
    }
  }

  #desenhar() {
    const chegou = Object.keys(this.#visto).length;
    if (!this.#seguido) return;
    escrever(achar("comparado"), `Um aluno entrou uma vez e chegou a ${chegou} de 4 serviços.`);
    achar("comparacao-tabela").hidden = false;
    achar("comparacao").dataset.aluno = this.#seguido;
    achar("comparacao").querySelector("tbody").replaceChildren(
      ...Object.entries({ ...CAMPOS, ...DE_NINGUEM }).map(([campo, rotulo]) => novo(
        "tr", { "data-campo": campo }, novo("th", { scope: "row" }, rotulo),
        ...Object.keys(SERVICOS).map((servico) => this.#celula(campo, servico)),
      )),
    );
  }

  #celula(campo, servico) {
    const campos = this.#visto[servico];
    const texto = (classe, marca, valor) => novo(
      "td", { class: classe, "data-servico": servico },
      novo("span", { class: "marca", "aria-hidden": "true" }, marca), novo("span", { class: "valor" }, valor),
    );
    if (campo in DE_NINGUEM) return texto("nunca", "–", "nunca chega");
    if (campos === undefined) {
      if (servico !== "marketing") return texto("espera", "…", "ainda não");
      // Whether somebody agreed the page does not know; but two have it, and nothing waits for this one.
      const esquecido = this.#marketingEmDia && Object.keys(this.#visto).length >= 2;
      return esquecido ? texto("nunca", "–", "não é avisado") : texto("espera", "…", "ainda não");
    }
    if (!(campo in campos)) return texto("nunca", "–", "não recebe");
    const valor = legivel(campo, campos[campo]);
    return valor === null ? texto("nada", "○", "não informado") : texto("tem", "●", valor);
  }
}
