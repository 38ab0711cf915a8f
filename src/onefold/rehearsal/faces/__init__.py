"""The faces of the rehearsal exchange: each speaks the language of one venue."""
