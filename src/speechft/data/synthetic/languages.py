"""Open sentences in languages other than English: real words, simple templates."""

from __future__ import annotations

import numpy as np

from speechft.data.synthetic.grammar import Sentence, fill
from speechft.data.synthetic.words import split_words

_SPANISH: dict[str, tuple[str, ...]] = {
    "persona": split_words("maría pedro lucía carlos elena jorge teresa andrés isabel ramón"),
    "masc": split_words(
        "perro libro árbol coche reloj zapato pueblo camino vecino maestro jardín barco cuchillo "
        "médico espejo sombrero río gato teléfono queso"
    ),
    "fem": split_words(
        "casa mesa ventana montaña iglesia cocina ciudad playa escuela llave carta lluvia flor "
        "bicicleta silla puerta guitarra naranja calle noche"
    ),
    "adjm": split_words("viejo pequeño blanco largo nuevo roto rojo bonito oscuro tranquilo"),
    "adjf": split_words("vieja pequeña blanca larga nueva rota roja bonita oscura tranquila"),
    "hizo": split_words(
        "compró encontró pintó perdió miró vendió olvidó rompió llevó limpió dibujó buscó"
    ),
    "cuando": split_words("ayer hoy siempre nunca despacio temprano mañana anoche juntos"),
    "dia": split_words("lunes martes miércoles jueves viernes sábado domingo"),
}
_GERMAN: dict[str, tuple[str, ...]] = {
    "person": split_words("anna jürgen lena klaus greta dieter monika stefan ursula heinz"),
    "der": split_words("hund baum garten schlüssel könig lehrer fluss tisch berg mantel vogel"),
    "die": split_words("katze straße küche blume brücke lampe schule flasche uhr gabel kirche"),
    "das": split_words("haus buch fenster kind pferd messer dorf schiff bild mädchen wasser"),
    "adj": split_words("alte kleine schöne grüne laute schwere kurze böse frische müde"),
    "tat": split_words("sucht findet kauft malt verliert trägt öffnet vergisst zeichnet putzt"),
    "wie": split_words("heute morgen immer langsam gestern niemals früh plötzlich zusammen"),
    "tag": split_words("montag dienstag mittwoch donnerstag freitag samstag sonntag"),
}
_SPANISH_TEMPLATES = (
    "{persona} {hizo} el {masc} {adjm} y la {fem} {adjf}",
    "la {fem} {adjf} está cerca del {masc} {adjm}",
    "el {masc} de {persona} llegó {cuando} el {dia}",
    "{cuando} {persona} {hizo} una {fem} en la {fem}",
    "el {dia} {persona} y {persona} van a la {fem} {adjf}",
    "no sé por qué {persona} {hizo} un {masc} tan {adjm}",
    "mi {fem} es más {adjf} que tu {fem}",
)
_GERMAN_TEMPLATES = (
    "{person} {tat} {wie} das {adj} {das} und die {adj} {die}",
    "der {adj} {der} steht hinter der {die}",
    "am {tag} {tat} {person} die {adj} {die}",
    "warum {tat} der {der} {wie} das {das}",
    "{wie} {tat} {person} die {die} von {person}",
    "das {adj} {das} und der {adj} {der} gehören {person}",
    "ich glaube dass {person} am {tag} das {das} {tat}",
)
OTHER_LANGUAGES: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "es": (_SPANISH_TEMPLATES, _SPANISH),
    "de": (_GERMAN_TEMPLATES, _GERMAN),
}


def draw_other(language: str, random: np.random.Generator) -> Sentence:
    """Draw a sentence of a language other than English ("es", "de")."""
    templates, values = OTHER_LANGUAGES[language]
    sentence = fill(templates[int(random.integers(len(templates)))], values, random)
    return Sentence(sentence.text)
