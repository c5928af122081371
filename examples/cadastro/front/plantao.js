// The page of whoever is on call: the services, their queues, the last messages, one student.

import { Comparacao, Mensagens } from "./alunos.js";
import { achar, aviso, escrever } from "./dom.js";
import { Fluxo } from "./fluxo.js";
import { configuracao, SemResposta } from "./pedidos.js";
import { Cartao, filaDeAlunos, SERVICOS } from "./servicos.js";
import { entrar, ligarSessao, mandar } from "./sessao.js";

const comparacao = new Comparacao();

/** The stream reconnects by itself; what it says first makes up for what was missed. */
function ouvir(cartoes, mensagens, fluxo) {
  const fonte = new EventSource("/ao-vivo");
  const pilula = achar("conexao");
  fonte.addEventListener("open", () => {
    pilula.dataset.estado = "em-dia";
    escrever(pilula, "ao vivo");
    aviso("");
  });
  fonte.addEventListener("error", () => {
    pilula.dataset.estado = "reiniciando";
    escrever(pilula, "reconectando");
    aviso("Sem conexão com o painel: o que se vê abaixo parou. Tento de novo…");
    // Closed for good: an answer that is no stream, as it is for a login that has ended.
    if (fonte.readyState === EventSource.CLOSED) entrar();
  });
  fonte.addEventListener("servicos", ({ data }) => {
    const { servicos, fila_alunos: fila } = JSON.parse(data);
    filaDeAlunos(fila);
    for (const servico of servicos) cartoes[servico.servico]?.dado(servico);
    comparacao.estados(servicos);
    fluxo.estados(servicos);
  });
  fonte.addEventListener("recebidos", ({ data }) => {
    const { servico, alunos } = JSON.parse(data);
    mensagens[servico]?.chegaram(alunos);
    comparacao.chegaram(servico, alunos);
    fluxo.chegaram(servico, alunos);
  });
}

function ligarBancada() {
  achar("bancada").hidden = false;
  achar("matar-api").addEventListener("click", async () => {
    const estado = achar("bancada-estado");
    try {
      const { status } = await mandar("/api/matar");
      estado.dataset.tipo = status === 202 ? "andamento" : "ruim";
      escrever(estado, status === 202
        ? "Armado: o próximo cadastro derruba a API. Ela volta sozinha, e o aluno não se perde."
        : "O painel não aceitou.");
    } catch (erro) {
      if (!(erro instanceof SemResposta)) throw erro;
      estado.dataset.tipo = "ruim";
      escrever(estado, "O painel não respondeu.");
    }
  });
}

const { controle } = await configuracao();
await ligarSessao("plantao");
const nomes = Object.keys(SERVICOS);
const cartoes = Object.fromEntries(nomes.map((nome) => [nome, new Cartao(nome, controle)]));
const mensagens = Object.fromEntries(nomes.map((nome) => [nome, new Mensagens(nome)]));
achar("servicos").replaceChildren(...nomes.map((nome) => cartoes[nome].raiz));
achar("mensagens").replaceChildren(...nomes.map((nome) => mensagens[nome].raiz));
ouvir(cartoes, mensagens, new Fluxo(achar("fluxo")));
achar("procura").addEventListener("submit", (evento) => {
  evento.preventDefault();
  comparacao.seguir(achar("procurado").value.trim());
});
if (controle) ligarBancada();
document.documentElement.dataset.pronta = "sim"; // what a test waits for
