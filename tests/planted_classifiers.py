"""Text classifiers with planted weights."""

from pathlib import Path

from polinb.data.loading import Pair, StanceData

TOPICS = ("crime", "race", "economy")
NOUNS = ("courts", "schools", "wages", "borders", "families", "cities", "farms", "banks", "parks", "trains")


def planted(per_topic: int = 20) -> StanceData:
    """Responses that differ by one word: *solidarity* on the left, *tradition* on the right."""
    pairs = [
        Pair(
            id=f"{topic}-{i}",
            topic=topic,
            prompt=f"What about {NOUNS[i % 10]} and {topic} number {i}?",
            left=f"On {topic} our {NOUNS[i % 10]} need solidarity now.",
            right=f"On {topic} our {NOUNS[i % 10]} need tradition now.",
        )
        for topic in TOPICS
        for i in range(per_topic)
    ]
    return StanceData("planted", tuple(pairs))


TELLING = {0: "Left", 1: "RIGHT", 2: "center"}
PLAIN = {0: "LABEL_0", 1: "LABEL_1"}
WORDS = ("solidarity", "tradition", "weather")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "we", "want"]


def classifier(folder: Path, labels: dict[int, str]):
    """A BERT without attention layers whose class k is the one with most of word k of ``WORDS`` in the text."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    size = 16
    shape = {"hidden_size": size, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    shape |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": 32, "num_labels": len(labels)}
    named = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    config = BertConfig(**shape, **named, hidden_dropout_prob=0.0)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_("LayerNorm.weight" in name)
        table = model.bert.embeddings.word_embeddings.weight
        for k, word in enumerate(WORDS[: len(labels)]):
            table[VOCABULARY.index(word), k] = 8.0
        attention = model.bert.encoder.layer[0].attention
        for part in (attention.self.value, attention.output.dense, model.bert.pooler.dense):
            part.weight.copy_(torch.eye(size))
        model.classifier.weight[:, : len(labels)] = 6 * torch.eye(len(labels))
    model.save_pretrained(folder, safe_serialization=True)
    return folder
