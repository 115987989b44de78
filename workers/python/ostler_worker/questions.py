"""Questions to the host that wait for their answers."""

from _thread import allocate_lock


class Question:
    def __init__(self, execution):
        self.execution = execution
        self.reply = None
        self.answered = allocate_lock()
        self.answered.acquire()


questions = {}  # request number -> Question
request_numbers = iter(range(1, 1 << 62))


def answer_leftover_questions(execution):
    """Gives the end of file to threads that still wait for input when their execution ends."""
    for question in list(questions.values()):
        if question.execution is execution and question.reply is None:
            question.reply = {"eof": True}
            question.answered.release()
