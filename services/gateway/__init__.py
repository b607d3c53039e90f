"""The rules of the agent gateway: who is asked, with which words, and what of the answer a customer may see. Pure: no I/O."""
