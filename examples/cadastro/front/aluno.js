// The student's page: only the form. As static files it needs nothing but config.json beside it.

import { achar, escrever } from "./dom.js";
import { ligarFormulario } from "./formulario.js";
import { configuracao } from "./pedidos.js";

const { api, escola } = await configuracao((texto) => {
  achar("sem-conexao").hidden = !texto;
  escrever(achar("sem-conexao"), texto);
});
if (escola) achar("escola").href = escola;
achar("escola").hidden = !escola;
ligarFormulario(api);
document.documentElement.dataset.pronta = "sim"; // what a test waits for
