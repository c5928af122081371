// Who is logged in: the name on the page, the way to the other page, and the way out.

import { achar, escrever } from "./dom.js";
import { pedir } from "./pedidos.js";

const PAGINAS = {
  secretaria: { url: "/secretaria.html", nome: "Secretaria" },
  plantao: { url: "/plantao.html", nome: "Plantão" },
};
let csrf = null;

/** Sends whoever is not logged in (any more) to the login, and back to this page. */
export function entrar() {
  location.assign(`/entrar?para=${encodeURIComponent(location.pathname)}`);
}

/** Shows who it is. `aqui`: this page's role. */
export async function ligarSessao(aqui) {
  const { corpo } = await pedir("/quem");
  if (!corpo.nome) return entrar();
  csrf = corpo.csrf;
  escrever(achar("nome-de-quem"), corpo.nome);
  const outra = Object.keys(PAGINAS).find((um) => um !== aqui && corpo.papeis.includes(um));
  const link = achar("outra-pagina");
  link.hidden = !outra;
  if (outra) {
    link.href = PAGINAS[outra].url;
    escrever(link, PAGINAS[outra].nome);
  }
  achar("sair").addEventListener("click", async () => {
    await mandar("/sair");
    location.assign("/");
  });
}

/** An order to the server of this page. The token is what a page of another origin cannot read. */
export const mandar = (caminho) => pedir(caminho, "POST", undefined, { "X-CSRF": csrf });
