// The room of the CPF: eleven digits, the last two made of the others. The API checks it again.

export function cpfValido(texto) {
  const digitos = texto.replace(/\D/g, "");
  if (!/^[\d.\-\s]+$/.test(texto) || digitos.length !== 11 || /^(\d)\1+$/.test(digitos)) return false;
  return [9, 10].every((tamanho) => {
    let soma = 0;
    for (let i = 0; i < tamanho; i += 1) soma += Number(digitos[i]) * (tamanho + 1 - i);
    return ((soma * 10) % 11) % 10 === Number(digitos[tamanho]);
  });
}

/** As people write it, as far as it was typed: 529.982.247-25. */
export function cpfEscrito(texto) {
  const d = texto.replace(/\D/g, "").slice(0, 11);
  return [d.slice(0, 3), d.slice(3, 6), d.slice(6, 9)].filter(Boolean).join(".")
    + (d.length > 9 ? `-${d.slice(9)}` : "");
}
