"""A reader's output, sorted out for assertions."""

from stages.readers.base import Candidate, Unreadable


class Output:
    """What a reader made of an input, in order."""

    def __init__(self, items: list[Candidate | Unreadable]):
        self.items = items
        self.candidates = [item for item in items if isinstance(item, Candidate)]
        self.documents = [item.document for item in self.candidates]
        self.captions = [document.text() for document in self.documents]
        self.dead = [item for item in items if isinstance(item, Unreadable)]
        self.reasons = sorted(item.reason for item in self.dead)

    def uids(self) -> list[str]:
        return [document.uid for document in self.documents]
