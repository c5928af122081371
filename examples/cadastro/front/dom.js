// The room of the page's elements: found, made and filled, always as text, never as markup.

/** The element with this id. */
export const achar = (id) => document.getElementById(id);

/** A new element: `novo("li", {class: "x", hidden: true}, "text", outro)`. Text stays text. */
export function novo(nome, atributos = {}, ...filhos) {
  const feito = document.createElement(nome);
  for (const [chave, valor] of Object.entries(atributos)) {
    if (valor === true) feito.setAttribute(chave, "");
    else if (valor !== false && valor !== null && valor !== undefined) feito.setAttribute(chave, valor);
  }
  feito.append(...filhos);
  return feito;
}

/** Writes only what changed, so that a screen reader is not told the same twice. */
export function escrever(elemento, texto) {
  if (elemento.textContent !== texto) elemento.textContent = texto;
}

/** What is wrong with the connection, at the head of the page; "": nothing is. */
export function aviso(texto) {
  achar("sem-conexao").hidden = !texto;
  escrever(achar("sem-conexao"), texto);
}

const inteiro = new Intl.NumberFormat("pt-BR");
const hora = new Intl.DateTimeFormat("pt-BR", { timeStyle: "medium" });
const momento = new Intl.DateTimeFormat("pt-BR", { dateStyle: "short", timeStyle: "short" });

export const numero = (valor) => inteiro.format(valor);
export const horas = (data = new Date()) => hora.format(data);
export const dataHora = (data) => momento.format(data);

/** "1 aluno", "2 alunos". */
export const quantos = (n, um, muitos) => `${numero(n)} ${n === 1 ? um : muitos}`;

export function tamanho(bytes) {
  if (bytes < 1024) return quantos(bytes, "byte", "bytes");
  const mega = bytes / (1024 * 1024);
  const [valor, medida] = mega >= 1 ? [mega, "MiB"] : [bytes / 1024, "KiB"];
  return `${new Intl.NumberFormat("pt-BR", { maximumFractionDigits: 1 }).format(valor)} ${medida}`;
}

export const dormir = (segundos) => new Promise((pronto) => setTimeout(pronto, segundos * 1000));
