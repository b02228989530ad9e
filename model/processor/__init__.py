"""From pictures, clips and chats to model inputs, without torch."""
