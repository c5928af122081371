// The room of reasons: what the library says of a bad row, in Portuguese. Unknown ones stay as they are.

const DITOS = [
  [/^empty$/, "vazio"],
  [/^not an e-mail address/, "não é um e-mail"],
  [/\(cpf\)|not a CPF/, "não é um CPF: confira os 11 dígitos"],
  [/^neither yes nor no/, "escreva sim ou não"],
  [/^not a number/, "não é um número; escreva 1.234,56"],
  [/may be one or a thousand/, "1.234 pode ser um ou mil; escreva 1234,00"],
  [/^not a date/, "não é uma data; escreva dd/mm/aaaa"],
  [/^there is no such date/, "esta data não existe"],
  [/a date was expected, without a time/, "escreva a data sem a hora"],
  [/control character/, "contém um caractere de controle"],
  [/UTF-8|utf-8|decode/, "não está em UTF-8"],
  [/columns|cells/, "o número de colunas não é o do cabeçalho"],
];

export function emPortugues(motivo) {
  const [dito] = motivo.split(" (also wrong: ");
  const outras = motivo.match(/\(also wrong: (.*)\)$/)?.[1];
  const achado = DITOS.find(([padrao]) => padrao.test(dito))?.[1] ?? dito;
  return outras ? `${achado} (e também: ${outras})` : achado;
}
