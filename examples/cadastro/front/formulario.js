// The form: one student to the API, every error beside its field.

import { cpfEscrito, cpfValido } from "./cpf.js";
import { achar, dormir, escrever, novo } from "./dom.js";
import { errosDe, pedir, SemResposta } from "./pedidos.js";

const CAMPOS = ["nome", "email", "cpf", "senha", "curso", "aceita_marketing"];
const NOMES = {
  nome: "Nome", email: "E-mail", cpf: "CPF", senha: "Senha", curso: "Curso",
  aceita_marketing: "Aceite",
};
const ESPERAS = [1, 2, 4, 8]; // seconds before each further try, when nobody answers

export function ligarFormulario(api) {
  const formulario = achar("formulario");
  const estado = achar("formulario-estado");
  const botao = formulario.querySelector("[type=submit]");

  achar("ver-senha").addEventListener("click", (evento) => {
    const aberta = achar("senha").type === "password";
    achar("senha").type = aberta ? "text" : "password";
    evento.currentTarget.setAttribute("aria-pressed", String(aberta));
    evento.currentTarget.textContent = aberta ? "Esconder" : "Mostrar";
  });
  achar("cpf").addEventListener("blur", ({ target }) => {
    if (cpfValido(target.value)) target.value = cpfEscrito(target.value);
  });
  const quandoSoltar = depoisDoDedo();
  for (const campo of CAMPOS) {
    // An error goes away as soon as its field is right again, and comes only when one leaves it.
    achar(campo).addEventListener("input", () => {
      if (achar(campo).getAttribute("aria-invalid") && !erroDe(campo)) marcar(campo, "");
    });
    achar(campo).addEventListener("change", () => {
      quandoSoltar(() => achar(campo).value && marcar(campo, erroDe(campo)));
    });
  }

  formulario.addEventListener("submit", async (evento) => {
    evento.preventDefault();
    if (botao.getAttribute("aria-disabled")) return;
    estado.dataset.tipo = "";
    escrever(estado, "");
    const erros = CAMPOS.map((campo) => ({ campo, motivo: erroDe(campo) })).filter((um) => um.motivo);
    if (erros.length > 0) return mostrar(erros);
    mostrar([]);
    // Not `disabled`: that would throw the keyboard's place away.
    botao.setAttribute("aria-disabled", "true");
    estado.dataset.tipo = "andamento";
    escrever(estado, "Cadastrando…");
    const aluno = valores();
    try {
      const resposta = await tentar(api, aluno, estado);
      if (resposta.status === 201) {
        estado.dataset.tipo = "certo";
        estado.dataset.aluno = resposta.corpo.aluno_id; // what whoever is on call may look for
        escrever(estado, `${resposta.corpo.nome}: cadastro feito.`);
        formulario.reset();
      } else {
        estado.dataset.tipo = "";
        escrever(estado, "");
        mostrar(errosDe(resposta));
      }
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
      estado.dataset.tipo = "";
      escrever(estado, "");
      mostrar([{ campo: "", motivo: "a API não responde; nada do que escreveu se perdeu, tente de novo" }]);
    } finally {
      botao.removeAttribute("aria-disabled");
    }
  });
}

/** Calls back at once, or when the finger or the button of the mouse is up again: a new line that
 * moves the button away between down and up would make a click of nothing. */
function depoisDoDedo() {
  let embaixo = false;
  const fila = [];
  document.addEventListener("pointerdown", () => { embaixo = true; }, true);
  for (const nome of ["pointerup", "pointercancel"]) {
    document.addEventListener(nome, () => {
      embaixo = false;
      setTimeout(() => fila.splice(0).forEach((feito) => feito()));
    }, true);
  }
  return (feito) => (embaixo ? fila.push(feito) : feito());
}

/** The answer, tried again while there is none. Throws `SemResposta`. */
async function tentar(api, aluno, estado) {
  for (let vez = 0; ; vez += 1) {
    let espera = ESPERAS[vez];
    try {
      const resposta = await pedir(`${api}/alunos`, "POST", aluno);
      const passa = resposta.status === 429 || resposta.status === 503;
      if (!passa || espera === undefined) return resposta;
      espera = Math.min(resposta.espera ?? espera, 30);
    } catch (erro) {
      if (espera === undefined) throw erro;
    }
    escrever(estado, `A API não está disponível; tento de novo em ${espera} s…`);
    await dormir(espera);
  }
}

/** What is filled in; an empty field is not sent at all, as in today's system. */
function valores() {
  const aluno = { nome: achar("nome").value.trim(), email: achar("email").value.trim() };
  for (const campo of ["cpf", "curso"]) {
    if (achar(campo).value.trim()) aluno[campo] = achar(campo).value.trim();
  }
  if (achar("senha").value) aluno.senha = achar("senha").value;
  aluno.aceita_marketing = achar("aceita_marketing").checked;
  return aluno;
}

function erroDe(campo) {
  const entrada = achar(campo);
  const texto = entrada.value.trim();
  if (campo === "nome" && !texto) return "escreva o nome";
  if (campo === "email") {
    if (!texto) return "escreva o e-mail";
    if (entrada.validity.typeMismatch || !/^[^@\s]+@[^@\s]+\.[^@\s.]+$/.test(texto)) {
      return "não é um e-mail; escreva como nome@exemplo.com.br";
    }
  }
  if (campo === "cpf" && texto && !cpfValido(texto)) return "não é um CPF; confira os 11 dígitos";
  if (campo === "senha" && entrada.value && entrada.value.length < 8) {
    return "curta demais; são 8 caracteres ou mais";
  }
  return "";
}

function marcar(campo, motivo) {
  const entrada = achar(campo);
  escrever(achar(`${campo}-erro`), motivo && `${NOMES[campo]}: ${motivo}.`);
  if (motivo) entrada.setAttribute("aria-invalid", "true");
  else entrada.removeAttribute("aria-invalid");
}

/** All errors: beside their fields, and in a summary that takes the focus and links to them. */
function mostrar(erros) {
  for (const campo of CAMPOS) marcar(campo, erros.find((um) => um.campo === campo)?.motivo ?? "");
  const resumo = achar("resumo");
  resumo.hidden = erros.length === 0;
  if (erros.length === 0) return;
  escrever(achar("resumo-titulo"), "O cadastro não foi feito. Falta acertar:");
  resumo.querySelector("ul").replaceChildren(...erros.map(({ campo, motivo }) => {
    if (!CAMPOS.includes(campo)) return novo("li", {}, campo ? `${campo}: ${motivo}.` : `${motivo}.`);
    const link = novo("a", { href: `#${campo}` }, `${NOMES[campo]}: ${motivo}`);
    link.addEventListener("click", (evento) => {
      evento.preventDefault();
      achar(campo).focus();
    });
    return novo("li", {}, link);
  }));
  resumo.focus();
}
