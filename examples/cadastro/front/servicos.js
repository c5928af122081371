// The four cards, one service each: what it has, and whether it is behind; and the queue before the API.

import { achar, escrever, horas, novo, numero, quantos } from "./dom.js";
import { SemResposta } from "./pedidos.js";
import { mandar } from "./sessao.js";

export const SERVICOS = {
  plataforma: { nome: "Plataforma", curto: "Plat.", papel: "dá acesso ao curso" },
  financeiro: { nome: "Financeiro", curto: "Fin.", papel: "abre a conta do aluno" },
  marketing: { nome: "Marketing", curto: "Mkt.", papel: "escreve a quem aceitou" },
  bi: { nome: "BI", curto: "BI", papel: "conta, sem saber nomes" },
};
const LEMBRADOS = 40; // events in the log

/** A line in the log, which a screen reader hears. */
export function anotar(texto) {
  const lista = achar("acontecimentos");
  lista.prepend(novo("li", {}, novo("time", {}, horas()), ` ${texto}`));
  while (lista.children.length > LEMBRADOS) lista.lastChild.remove();
}

/** The queue between the file and the API: rows that nobody has decided yet, and dead letters. */
export function filaDeAlunos({ esperando, mortas }) {
  const lugar = achar("fila-alunos");
  const semMedida = esperando === null || mortas === null;
  lugar.dataset.estado = semMedida ? "desconhecido" : esperando || mortas ? "recebendo" : "em-dia";
  const espera = semMedida
    ? "não responde, e não se sabe quantas linhas esperam"
    : esperando ? quantos(esperando, "linha espera", "linhas esperam") : "vazia";
  const fora = mortas ? `; ${quantos(mortas, "linha recusada ficou guardada", "linhas recusadas ficaram guardadas")}` : "";
  escrever(lugar, `A fila antes da API: ${espera}${fora}.`);
}

/** One card. `dado(servico)` takes what the painel says of it. */
export class Cartao {
  #partes;
  #nome;
  #servico;
  #estado = null;
  #medida = { fila: null, total: 0 }; // the last measure of the queue, and what that made in all
  #atraso = null; // what it had missed when it came back; null: it was never behind

  constructor(servico, controle) {
    this.#servico = servico;
    this.#nome = SERVICOS[servico].nome;
    const id = `servico-${servico}`;
    const partes = {
      pilula: novo("p", { class: "pilula", "data-estado": "esperando" }, "…"),
      recebidos: novo("dd", { class: "recebidos" }, "0"),
      fila: novo("dd", { class: "na-fila" }, "0"),
      barra: novo("progress", { max: "1", value: "1", "aria-label": `${this.#nome}: quanto já recebeu` }),
      frase: novo("p", { class: "frase" }),
      botao: novo("button", { type: "button", class: "leve", hidden: !controle }),
    };
    partes.botao.addEventListener("click", () => this.#mandar());
    this.#partes = partes;
    this.raiz = novo(
      "article", { class: "cartao servico", id, "data-servico": servico, "aria-labelledby": `${id}-t` },
      novo("div", { class: "cabeca" }, novo("h3", { id: `${id}-t` }, this.#nome), partes.pilula),
      novo("p", { class: "papel" }, SERVICOS[servico].papel),
      novo(
        "dl", { class: "contas" },
        novo("div", {}, novo("dt", {}, "recebidos"), partes.recebidos),
        novo("div", {}, novo("dt", {}, "na fila"), partes.fila),
      ),
      partes.barra, partes.frase, partes.botao,
    );
  }

  dado({ estado, recebidos, na_fila: medida, repetidos }) {
    const { pilula, barra, frase, botao } = this.#partes;
    const fila = this.#falta(recebidos, medida);
    this.#mudou(estado, fila);
    const fora = estado !== "ligado";
    const alcancando = !fora && this.#atraso !== null && (fila ?? 1) > 0;
    if (!fora && this.#atraso !== null && fila === 0) {
      anotar(`${this.#nome} alcançou os outros.`);
      this.#atraso = null;
      this.#emDia = true;
    }
    const parado = fila === null ? "desconhecido" : "em-dia"; // what is not known is not said
    const aspecto = fora ? estado : alcancando ? "alcancando" : fila ? "recebendo" : parado;
    this.raiz.dataset.estado = aspecto;
    pilula.dataset.estado = aspecto;
    escrever(pilula, {
      parado: "parado", reiniciando: "reiniciando", alcancando: "recuperando",
      recebendo: "recebendo", "em-dia": "em dia", desconhecido: "sem medida",
    }[aspecto]);
    escrever(this.#partes.recebidos, numero(recebidos));
    escrever(this.#partes.fila, fila === null ? "?" : numero(fila));
    barra.max = Math.max(1, recebidos + (fila ?? 0));
    if (fila === null) barra.removeAttribute("value");
    else barra.value = recebidos + fila === 0 ? 1 : recebidos;
    escrever(frase, this.#frase(aspecto, fila, repetidos));
    escrever(botao, `${estado === "parado" ? "Ligar" : "Parar"} ${this.#nome}`);
    botao.dataset.pedido = estado === "parado" ? "iniciar" : "parar";
  }

  #emDia = false;

  /** A queue is measured once a second; in between, what was received no longer waits. */
  #falta(recebidos, fila) {
    if (fila === null || fila === 0) return fila;
    if (fila !== this.#medida.fila) this.#medida = { fila, total: recebidos + fila };
    return Math.max(1, this.#medida.total - recebidos);
  }

  #mudou(estado, fila) {
    const antes = this.#estado;
    this.#estado = estado;
    if (estado !== "ligado") this.#emDia = false;
    if (antes === null || antes === estado) return;
    if (estado === "parado") anotar(`${this.#nome} parou. O que chegar espera na fila.`);
    else if (estado === "reiniciando") anotar(`${this.#nome} caiu e está voltando.`);
    else {
      this.#atraso = fila ?? 0;
      anotar(fila ? `${this.#nome} voltou, com ${quantos(fila, "mensagem", "mensagens")} por recuperar.` : `${this.#nome} voltou.`);
    }
  }

  #frase(aspecto, fila, repetidos) {
    const dobra = repetidos ? ` ${quantos(repetidos, "entrega repetida", "entregas repetidas")}.` : "";
    if (aspecto === "parado" || aspecto === "reiniciando") {
      return fila
        ? `Fora do ar. ${quantos(fila, "mensagem espera", "mensagens esperam")}; nenhuma se perde.`
        : "Fora do ar. O que chegar vai esperar na fila.";
    }
    if (aspecto === "desconhecido") return `Não se sabe quanto falta: a fila não responde.${dobra}`;
    if (aspecto === "alcancando") {
      return `De volta. ${fila === null ? "Não se sabe quanto falta" : `Faltam ${numero(fila)}`}.${dobra}`;
    }
    if (aspecto === "recebendo") return `Recebendo.${dobra}`;
    return this.#emDia ? `Voltou e alcançou os outros.${dobra}` : `Tudo recebido.${dobra}`;
  }

  async #mandar() {
    const { botao, frase } = this.#partes;
    try {
      await mandar(`/servicos/${this.#servico}/${botao.dataset.pedido}`);
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
      escrever(frase, "O painel não respondeu.");
    }
  }
}
