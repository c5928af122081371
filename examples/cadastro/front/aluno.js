// The student's page: only the form. As static files it needs nothing but config.json beside it.

import { achar } from "./dom.js";
import { ligarFormulario } from "./formulario.js";
import { configuracao } from "./pedidos.js";

const { api, escola } = await configuracao();
if (escola) achar("escola").href = escola;
achar("escola").hidden = !escola;
ligarFormulario(api);
document.documentElement.dataset.pronta = "sim"; // what a test waits for
