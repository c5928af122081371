"""Messages about a file, its header and its columns: (English, Portuguese), by code."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FILE_TEXTS"]

FILE_TEXTS: Mapping[str, tuple[str, str]] = {
    # A file
    "file": ("the file", "o arquivo"),
    "file.empty": (
        "{name} is empty: its first line must name the columns",
        "{name} está vazio: a primeira linha deve ter os nomes das colunas",
    ),
    "file.header": (
        "{name}, line {line}, the header: {why}",
        "{name}, linha {line}, o cabeçalho: {why}",
    ),
    "file.workbook": (
        (
            "{name} is a workbook (.xlsx), not a CSV file: save it as CSV UTF-8, or install what "
            "reads it: pip install 'messaging-sns-sqs[xlsx]'"
        ),
        (
            "{name} é uma planilha (.xlsx), não um CSV: salve-a como CSV UTF-8, ou instale o "
            "leitor: pip install 'messaging-sns-sqs[xlsx]'"
        ),
    ),
    "file.unreadable": (
        "{name} is a workbook (.xlsx) that cannot be read ({why}): save it again, or as CSV UTF-8",
        (
            "{name} é uma planilha (.xlsx) que não se consegue ler ({why}): salve-a de novo, ou "
            "como CSV UTF-8"
        ),
    ),
    "file.kind": ("{name} is {kind}, not a CSV file: {how}", "{name} é {kind}, não um CSV: {how}"),
    "kind.xls": (
        "a workbook (.xls, or a protected .xlsx)",
        "uma planilha (.xls, ou .xlsx com senha)",
    ),
    "kind.ods": ("a workbook (.ods)", "uma planilha (.ods)"),
    "kind.html": (
        "an HTML page (many systems call one .xls or .csv)",
        "uma página HTML (muitos sistemas a chamam de .xls ou .csv)",
    ),
    "kind.xml": ("an XML document", "um documento XML"),
    "kind.json": ("a JSON document", "um documento JSON"),
    "kind.pdf": ("a PDF document", "um documento PDF"),
    "kind.rtf": ("an RTF document", "um documento RTF"),
    "kind.gzip": ("compressed (gzip)", "um arquivo comprimido (gzip)"),
    "kind.rar": ("an archive (RAR or 7-Zip)", "um arquivo compactado (RAR ou 7-Zip)"),
    "kind.utf32": ("text in UTF-32", "um texto em UTF-32"),
    "how.save": (
        "open it in a spreadsheet and save it as CSV UTF-8",
        "abra numa planilha e salve como CSV UTF-8",
    ),
    "how.unpack": ("unpack it first", "descompacte antes"),
    "how.export": ("export the data as CSV UTF-8", "exporte os dados como CSV UTF-8"),
    "zip.many": (
        "{name} is a zip file with {count} files in it: publish one of them",
        "{name} é um zip com {count} arquivos: publique um deles",
    ),
    "zip.password": (
        "{name} is a zip file with a password: unpack it first",
        "{name} é um zip com senha: descompacte antes",
    ),
    "zip.broken": (
        "{name} is a zip file that is damaged or cut off: send it again",
        "{name} é um zip danificado ou cortado: envie de novo",
    ),
    "zip.big": (
        "{name} is a zip file with more than {most:,} bytes in it: unpack it first",
        "{name} é um zip com mais de {most:,} bytes dentro: descompacte antes",
    ),
    "header.data": (
        (
            "{name}: its first line is no header: no column is called like a field of {event}, and "
            "{like}; write the names of the columns as the first line of the file (or say "
            "--no-header, and --column '#1=FIELD')"
        ),
        (
            "{name}: a primeira linha não é um cabeçalho: nenhuma coluna tem o nome de um campo de "
            "{event}, e {like}; escreva os nomes das colunas na primeira linha do arquivo (ou diga "
            "--no-header, e --column '#1=CAMPO')"
        ),
    ),
    "header.like": ("column {place} looks like {looks}", "a coluna {place} parece {looks}"),
    "looks.email": ("an e-mail address", "um endereço de e-mail"),
    "looks.date": ("a date", "uma data"),
    "looks.cpf": ("a CPF", "um CPF"),
    "looks.uuid": ("a UUID", "um UUID"),
    "looks.phone": ("a telephone number", "um telefone"),
    "looks.number": ("a number", "um número"),
    "header.one_like": ("(one that looks like {looks})", "(uma que parece {looks})"),
    "header.unshown": (
        "not shown ({count}, and none has a name that is known: is it a header?)",
        "(não mostradas: são {count}, e nenhuma tem nome conhecido; é um cabeçalho?)",
    ),
    "column.none": (
        "{name} has no column {column!r}; its columns are {told}",
        "{name} não tem a coluna {column!r}; as colunas são {told}",
    ),
    "column.twice": (
        (
            "{name} has the column {column!r} twice (columns {places}): say which by its place, as "
            "in --column '#{first}={field}'; its columns are {told}"
        ),
        (
            "{name} tem a coluna {column!r} duas vezes (colunas {places}): diga qual pela posição, "
            "como em --column '#{first}={field}'; as colunas são {told}"
        ),
    ),
    "column.missing": (
        (
            "{name} has no column for {missing}, which {event} needs: map a column to each, or "
            "give a default; its columns are {told}"
        ),
        (
            "{name} não tem coluna para {missing}, que {event} exige: indique uma coluna para "
            "cada, ou um valor padrão; as colunas são {told}"
        ),
    ),
    # Notices about a file that was read
    "note.title": (
        "the header is line {at}: the lines above it were skipped",
        "o cabeçalho está na linha {at}: o que há acima dele foi ignorado",
    ),
    "note.sheet": (
        "the first sheet of {sheets} was read; the others were not",
        "foi lida a primeira planilha de {sheets}; as outras não",
    ),
    "note.zip": ("read from the one file in the zip", "lido do único arquivo dentro do zip"),
    "note.order": (
        "dates are read as {order}: no other order fits line {proof}",
        "datas lidas como {order}: a linha {proof} não permite outra ordem",
    ),
    "note.unproved": (
        "dates are read as {order}, and no line proves it: say --date-order dmy or mdy",
        "datas lidas como {order}, e nenhuma linha o prova: diga --date-order dmy ou mdy",
    ),
    "note.both": (
        (
            "dates in two orders: line {proof} is dd/mm, line {other} mm/dd; days that may be "
            "either are bad rows, unless --date-order says dmy or mdy"
        ),
        (
            "datas em duas ordens: a linha {proof} é dd/mm, a linha {other} mm/dd; dias que podem "
            "ser um ou outro são recusados, a menos que --date-order diga dmy ou mdy"
        ),
    ),
    "note.codepage": ("read as {codepage}", "lido como {codepage}"),
    "note.mixed": ("two encodings in one line", "duas codificações em uma linha"),
    "note.doubtful": (
        "letters that may be wrong: it is not clear in which encoding they are",
        "letras que podem estar erradas: não é clara a codificação do arquivo",
    ),
    "note.double": (
        "text that had been encoded twice was put right (Ã£ to ã)",
        "texto codificado duas vezes foi corrigido (Ã£ para ã)",
    ),
    "note.question": (
        "a question mark inside a word: a letter may have been lost",
        "ponto de interrogação dentro de uma palavra: uma letra pode ter se perdido",
    ),
    "note.plus": (
        "text that begins with + or -, which a spreadsheet takes for a formula",
        "texto que começa com + ou -, que uma planilha toma por fórmula",
    ),
    "note.short": (
        "rows with fewer cells than the header: what is missing was read as empty",
        "linhas com menos células que o cabeçalho: o que falta foi lido como vazio",
    ),
    "note.repeated": (
        "rows that the file holds already, with the same data (and the same event id)",
        "linhas que o arquivo já tem, com os mesmos dados (e a mesma identificação de evento)",
    ),
    "note.unwatched": (
        "repeated rows are not looked for from here on",
        "daqui em diante não se procuram linhas repetidas",
    ),
    "note.rows": (
        "the file has no rows below its header",
        "o arquivo não tem linhas abaixo do cabeçalho",
    ),
    "told.ignored": (
        "columns that fill no field: {names}",
        "colunas que não preenchem campo: {names}",
    ),
    "told.bad": (
        "{count} bad rows, with line, column and reason: {path}",
        "{count} linhas recusadas, com linha, coluna e motivo: {path}",
    ),
    "lines.one": ("line {lines}", "linha {lines}"),
    "lines.many": ("lines {lines}", "linhas {lines}"),
    "lines.more": ("lines {lines} and {more} more", "linhas {lines} e mais {more}"),
    "order.dmy": ("dd/mm/yyyy", "dd/mm/aaaa"),
    "order.mdy": ("mm/dd/yyyy", "mm/dd/aaaa"),
    "order.ymd": ("yyyy-mm-dd", "aaaa-mm-dd"),
}
