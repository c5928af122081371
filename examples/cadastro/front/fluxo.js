// The picture of the way: a student leaves the topic and travels to each service that hears of them.

import { SERVICOS } from "./servicos.js";

const SVG = "http://www.w3.org/2000/svg";
const VIAGEM = 900; // milliseconds from the topic to a service
const JUNTOS = 5; // students that travel at once to one service; a file has thousands
const PARADAS = [
  { nome: "formulário ou CSV", x: 92, largura: 180 }, { nome: "API", x: 270 }, { nome: "tópico", x: 430 },
];
const MEIO = 110;
const SERVICO_X = 660;

function parte(nome, atributos, ...filhos) {
  const feita = document.createElementNS(SVG, nome);
  for (const [chave, valor] of Object.entries(atributos)) feita.setAttribute(chave, valor);
  feita.append(...filhos);
  return feita;
}

/** One box with a word in it. */
function caixa(x, y, texto, atributos = {}, largura = 140) {
  return parte(
    "g", { class: "parada", ...atributos },
    parte("rect", { x: x - largura / 2, y: y - 19, width: largura, height: 38, rx: 9 }),
    parte("text", { x, y: y + 5, "text-anchor": "middle" }, texto),
  );
}

export class Fluxo {
  #raiz;
  #vistos = new Set(); // services whose first message, of what was before, has come
  #viajando = {};
  #parado = window.matchMedia("(prefers-reduced-motion: reduce)");

  constructor(raiz) {
    this.#raiz = raiz;
    const linha = (x1, y1, x2, y2, mais = {}) => parte("line", { class: "via", x1, y1, x2, y2, ...mais });
    const nomes = Object.keys(SERVICOS);
    this.lugares = Object.fromEntries(nomes.map((um, i) => [um, 28 + i * 55]));
    raiz.append(
      linha(182, MEIO, 200, MEIO), linha(340, MEIO, 360, MEIO),
      ...nomes.map((um) => linha(500, MEIO, SERVICO_X - 70, this.lugares[um], { "data-servico": um })),
      ...PARADAS.map(({ nome, x, largura }) => caixa(x, MEIO, nome, {}, largura)),
      ...nomes.map((um) => caixa(SERVICO_X, this.lugares[um], SERVICOS[um].nome, { "data-servico": um })),
    );
  }

  /** What is down has a broken line. */
  estados(servicos) {
    for (const { servico, estado } of servicos) {
      for (const um of this.#raiz.querySelectorAll(`[data-servico=${servico}]`)) um.dataset.estado = estado;
    }
  }

  /** Students have come to a service: they are seen on their way. */
  chegaram(servico, alunos) {
    // The first message tells of those that came before this page was opened.
    if (!this.#vistos.has(servico)) this.#vistos.add(servico);
    else for (let i = 0; i < Math.min(alunos.length, JUNTOS); i += 1) this.#viajar(servico, i);
  }

  #viajar(servico, depois) {
    if (this.#parado.matches || document.hidden || (this.#viajando[servico] ?? 0) >= JUNTOS) {
      return this.#acender(servico);
    }
    this.#viajando[servico] = (this.#viajando[servico] ?? 0) + 1;
    const aluno = parte("circle", { class: "aluno", cx: 430, cy: MEIO, r: 7 });
    this.#raiz.append(aluno);
    const dx = SERVICO_X - 70 - 430;
    const dy = this.lugares[servico] - MEIO;
    const viagem = aluno.animate(
      [{ transform: "translate(0, 0)" }, { transform: "translate(70px, 0)", offset: 0.25 },
        { transform: `translate(${dx}px, ${dy}px)` }],
      { duration: VIAGEM, delay: depois * 120, easing: "ease-in-out" },
    );
    viagem.onfinish = () => {
      aluno.remove();
      this.#viajando[servico] -= 1;
      this.#acender(servico);
    };
  }

  /** The box lights up for a moment; without movement it is all that one sees. */
  #acender(servico) {
    const lugar = this.#raiz.querySelector(`.parada[data-servico=${servico}]`);
    lugar.classList.add("acesa");
    setTimeout(() => lugar.classList.remove("acesa"), 700);
  }
}
